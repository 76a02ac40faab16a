"""Example: the same with paho-mqtt, beside "rollcall service renew DIRECTORY --daemon", which replaces the pair on disk.

    python3 service-sdk/examples/dashboard.py DIRECTORY
"""

import json
import os
import ssl
import sys
import time
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

directory = sys.argv[1]
key, certificate, ca = (os.path.join(directory, name) for name in ("key.pem", "cert.pem", "ca.pem"))
with open(os.path.join(directory, "service.json"), encoding="utf-8") as file:
    about = json.load(file)
broker = urlsplit(about["mqttUrl"])


def say(**fields):
    print(json.dumps(fields), flush=True)


def connected(client, userdata, flags, code, properties=None):
    if code != 0:
        print(f"refused: {code}", file=sys.stderr, flush=True)
    client.subscribe("devices/+/telemetry/+", qos=1)


def received(client, userdata, message):
    # paho acknowledges a message of QoS 1 when this function has returned.
    _, device, _, stream = message.topic.split("/")
    say(device=device, stream=stream, text=message.payload.decode())


def pair():
    """Changes with each renewal: the certificate is written after its key."""
    return os.stat(certificate).st_mtime_ns


def load(context):
    """The pair in use from the next connection on. False while the two files are being replaced and do not fit."""
    try:
        context.load_cert_chain(certificate, key)
        return True
    except ssl.SSLError:
        return False


context = ssl.create_default_context(cafile=ca)
current = pair()
load(context)

# A fixed client id and a persistent session: what arrives while this program connects again waits at the broker.
callbacks = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
client = mqtt.Client(*callbacks, client_id=about["service"], clean_session=False)
client.tls_set_context(context)
client.on_connect = connected
client.on_subscribe = lambda *_: say(ready=True)
client.on_message = received
client.connect(broker.hostname, broker.port, keepalive=30)

def connect_again():
    try:
        client.reconnect()
    except OSError as error:
        print(f"not connected: {error}", file=sys.stderr, flush=True)
        time.sleep(1)


while True:
    if client.loop(timeout=0.2) != mqtt.MQTT_ERR_SUCCESS:
        time.sleep(1)
        connect_again()
    elif pair() != current and load(context):
        current = pair()
        client.disconnect()
        while client.is_connected():
            client.loop(timeout=0.2)
        connect_again()
