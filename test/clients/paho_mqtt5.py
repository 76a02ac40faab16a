"""An MQTT 5 client of paho-mqtt that a test drives: it reads commands and writes what happens, one JSON line each.

The first line has the settings of the connection; each further line a command: subscribe, publish, acknowledge, disconnect.
With "manual" in the settings a message is acknowledged only after the command acknowledge: paho sends PUBACK when on_message returns.
"""

import json
import os
import ssl
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions


def tell(what, **fields):
    print(json.dumps({"what": what, **fields}), flush=True)


def properties_of(packet, given):
    """`given`: names as paho spells them; CorrelationData is text, UserProperty a list of pairs."""
    properties = Properties(packet)
    for name, value in (given or {}).items():
        if name == "UserProperty":
            value = [tuple(pair) for pair in value]
        elif name == "CorrelationData":
            value = value.encode()
        setattr(properties, name, value)
    return properties


def plain(properties):
    if properties is None:
        return {}
    found = properties.json()
    if "CorrelationData" in found:
        found["CorrelationData"] = bytes.fromhex(found["CorrelationData"]).decode()
    return found


class Driven:
    def __init__(self, settings):
        callbacks = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
        self.client = mqtt.Client(*callbacks, client_id=settings["id"], protocol=mqtt.MQTTv5)
        self.manual = settings.get("manual", False)
        self.acknowledgements = threading.Semaphore(0)
        self.client.tls_set(
            ca_certs=settings["ca"],
            certfile=settings["certificate"],
            keyfile=settings["key"],
            tls_version=ssl.PROTOCOL_TLS_CLIENT,
        )
        will = settings.get("will")
        if will is not None:
            properties = properties_of(PacketTypes.WILLMESSAGE, will.get("properties"))
            self.client.will_set(will["topic"], will["payload"], will.get("qos", 0), False, properties)
        self.client.on_connect = self.connected
        self.client.on_subscribe = self.subscribed
        self.client.on_message = self.received
        self.client.on_publish = self.published
        self.client.on_disconnect = self.disconnected
        self.client.connect(
            settings["host"],
            settings["port"],
            keepalive=settings.get("keepalive", 30),
            clean_start=settings.get("clean", True),
            properties=properties_of(PacketTypes.CONNECT, settings.get("properties")),
        )

    def connected(self, client, userdata, flags, code, properties=None):
        tell("connected", code=code.value, present=bool(flags["session present"]), properties=plain(properties))

    def subscribed(self, client, userdata, message_id, granted, properties=None):
        tell("subscribed", granted=[code.value for code in granted])

    def received(self, client, userdata, message):
        tell(
            "received",
            topic=message.topic,
            payload=message.payload.decode(),
            qos=message.qos,
            retain=bool(message.retain),
            properties=plain(message.properties),
        )
        if self.manual:
            self.acknowledgements.acquire()

    def published(self, client, userdata, message_id):
        tell("published", mid=message_id)

    def disconnected(self, client, userdata, code, properties=None):
        tell("disconnected", code=getattr(code, "value", code), reason=plain(properties).get("ReasonString"))
        # The network thread would connect again.
        os._exit(0)

    def apply(self, command):
        do = command["do"]
        if do == "subscribe":
            options = SubscribeOptions(
                qos=command.get("qos", 1),
                noLocal=command.get("noLocal", False),
                retainAsPublished=command.get("retainAsPublished", False),
                retainHandling=command.get("retainHandling", 0),
            )
            properties = properties_of(PacketTypes.SUBSCRIBE, command.get("properties"))
            self.client.subscribe(command["filter"], options=options, properties=properties)
        elif do == "publish":
            properties = properties_of(PacketTypes.PUBLISH, command.get("properties"))
            self.client.publish(
                command["topic"], command["payload"], command.get("qos", 1), command.get("retain", False), properties
            )
        elif do == "acknowledge":
            self.acknowledgements.release()
        elif do == "disconnect":
            properties = properties_of(PacketTypes.DISCONNECT, command.get("properties"))
            self.client.disconnect(properties=properties)


driven = Driven(json.loads(sys.stdin.readline()))
driven.client.loop_start()
for line in sys.stdin:
    driven.apply(json.loads(line))
threading.Event().wait()
