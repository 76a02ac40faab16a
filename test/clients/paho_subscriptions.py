"""A device with a persistent session that subscribes to some filters at once, and leaves after so many messages.

Reads its settings as JSON from standard input; writes one JSON line for what it was granted, and one per message.
"""

import json
import ssl
import sys

import paho.mqtt.client as mqtt

settings = json.load(sys.stdin)
left = settings["messages"]
callbacks = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
client = mqtt.Client(*callbacks, client_id=settings["id"], clean_session=False)
client.tls_set(
    ca_certs=settings["ca"],
    certfile=settings["certificate"],
    keyfile=settings["key"],
    tls_version=ssl.PROTOCOL_TLS_CLIENT,
)


def connected(client, userdata, flags, code):
    if settings["filters"]:
        client.subscribe([(topic, qos) for topic, qos in settings["filters"]])


def subscribed(client, userdata, message_id, granted):
    print(json.dumps({"granted": list(granted)}), flush=True)


def received(client, userdata, message):
    global left
    print(json.dumps({"payload": message.payload.decode(), "qos": message.qos}), flush=True)
    left -= 1


client.on_connect = connected
client.on_subscribe = subscribed
client.on_message = received
client.connect(settings["host"], settings["port"], keepalive=30)
# The acknowledgement of the last message is sent before the client disconnects.
while left > 0 or client.want_write():
    client.loop(1)
client.disconnect()
