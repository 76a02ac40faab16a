"""One party of a conversation over MQTT with paho-mqtt: a device, a service, or one that only tries to connect.

Reads its settings as JSON from standard input; writes one JSON line per thing that happened. A device reports three
values, waits for a command and answers it; a service commands the device that it heard from and waits for its answer.
"""

import json
import ssl
import sys

import paho.mqtt.client as mqtt


def tell(what, **fields):
    print(json.dumps({"what": what, **fields}), flush=True)


class Party:
    def __init__(self, settings):
        self.role = settings["role"]
        self.id = settings["id"]
        self.answer = None
        version = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[settings.get("version", "3.1.1")]
        # paho 2 requires the version of its callbacks.
        callbacks = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
        self.client = mqtt.Client(*callbacks, client_id=self.id, protocol=version, transport=settings.get("transport", "tcp"))
        self.client.tls_set(
            ca_certs=settings["ca"],
            certfile=settings.get("certificate"),
            keyfile=settings.get("key"),
            tls_version=ssl.PROTOCOL_TLS_CLIENT,
        )
        if "path" in settings:
            self.client.ws_set_options(path=settings["path"])
        self.client.on_connect = self.connected
        self.client.on_subscribe = self.subscribed
        self.client.on_message = self.received
        self.client.on_publish = self.acknowledged
        self.client.on_disconnect = self.disconnected
        self.client.connect(settings["host"], settings["port"], keepalive=30)

    def connected(self, client, userdata, flags, code, properties=None):
        code = getattr(code, "value", code)
        tell("connected", code=code)
        if code != 0 or self.role == "visitor":
            client.disconnect()
        elif self.role == "device":
            client.subscribe(f"devices/{self.id}/commands/+/+", qos=1)
        else:
            client.subscribe([("devices/+/telemetry/+", 2), ("devices/+/responses/+", 1)])

    def subscribed(self, client, userdata, message_id, granted, properties=None):
        tell("subscribed", granted=[getattr(code, "value", code) for code in granted])
        if self.role == "device":
            for qos in (0, 1, 2):
                client.publish(f"devices/{self.id}/telemetry/level", str(qos), qos=qos)

    def received(self, client, userdata, message):
        payload = message.payload.decode()
        tell("received", topic=message.topic, payload=payload, qos=message.qos)
        _, device, area, *_ = message.topic.split("/")
        if area == "commands":
            request = message.topic.rsplit("/", 1)[1]
            self.answer = client.publish(f"devices/{self.id}/responses/{request}", "done", qos=1).mid
        elif area == "telemetry" and payload == "2":
            client.publish(f"devices/{device}/commands/reboot/r1", "now", qos=1)
        elif area == "responses":
            client.disconnect()

    def acknowledged(self, client, userdata, message_id):
        if message_id == self.answer:
            client.disconnect()

    def disconnected(self, client, userdata, code, properties=None):
        tell("disconnected", code=getattr(code, "value", code))
        # Otherwise the network loop connects again.
        sys.exit(0)


Party(json.load(sys.stdin)).client.loop_forever(retry_first_connection=False)
