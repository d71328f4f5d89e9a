"""Prints the payload of every message under a topic filter, one per line.

Usage: subscriber.py HOST PORT CLIENT-ID TOPICS. The session outlives the broker's restarts. A
message whose topic does not say what its payload says ends the program.
"""

import json
import os
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def main(host, port, client_id, topics):
    def on_connect(client, _userdata, _flags, _reason, _properties):
        client.subscribe(topics, qos=1)

    def on_message(_client, _userdata, message):
        record = json.loads(message.payload)
        expected = f"fieldmesh/{record['network']}/{record['machine_id']}/{record['series']}"
        if message.topic != expected:
            print(f"topic {message.topic}, but {expected} in the payload", flush=True)
            os._exit(1)
        print(message.payload.decode(), flush=True)

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5)
    client.on_connect = on_connect
    client.on_message = on_message
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    kept = Properties(PacketTypes.CONNECT)
    kept.SessionExpiryInterval = 3600
    client.connect(host, int(port), clean_start=False, properties=kept)
    client.loop_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
