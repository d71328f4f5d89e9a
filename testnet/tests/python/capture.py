"""Writes every frame of a network interface to a file, one after the other.

Usage: capture.py INTERFACE FILE. Prints a line once it captures; ends when its standard input does.
"""

import select
import socket
import sys

ETH_P_ALL = 3
FRAME_BYTES_MAX = 65_536


def main(interface, path):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024 * 1024)
        tap.bind((interface, 0))
        print("capturing", flush=True)
        with open(path, "wb") as file:
            while True:
                readable, _, _ = select.select([tap, sys.stdin], [], [])
                if tap in readable:
                    file.write(tap.recv(FRAME_BYTES_MAX))
                    file.flush()
                elif not sys.stdin.readline():
                    return


main(*sys.argv[1:])
