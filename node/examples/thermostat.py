"""A thermostat: a program that carries out commands which other machines send to this one.

    pip install grpcio grpcio-tools
    python thermostat.py [HOST:PORT [PROTO-DIR]]

It serves three commands as long as it runs:

    heating/set     {"celsius": 21.5} sets what is wanted, and answers with it
    heating/get     answers with what is wanted
    heating/ramp    {"celsius": 23, "steps": 4} goes there in steps, and answers with each

What another machine may ask of this one, and within which ranges, stands in the node's
configuration ([commands]); a command that comes here is permitted, new and not expired.
"""

import json
import queue
import sys
import time

import grpc

ADDRESS = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
sys.path.insert(0, sys.argv[2] if len(sys.argv) > 2 else "proto")
pb, services = grpc.protos_and_services("fieldmesh/v1/commands.proto")

wanted = 20.0
answers = queue.SimpleQueue()


def register():
    """What this program serves. `safe` says that a command changes nothing and may run twice."""
    offer = pb.ServeRequest.Register.Offer
    offers = [
        offer(name="heating/set"),
        offer(name="heating/get", safe=True),
        offer(name="heating/ramp"),
    ]
    return pb.ServeRequest(register=pb.ServeRequest.Register(offers=offers))


def say(run, value):
    """Gives a value of the answer."""
    text = json.dumps(value)
    answers.put(pb.ServeRequest(value=pb.ServeRequest.Value(run=run, value=text)))


def end(run, code=grpc.StatusCode.OK, message=""):
    """Ends a command, well or with a status code of gRPC and what to do about it."""
    number = code.value[0]
    answers.put(pb.ServeRequest(end=pb.ServeRequest.End(run=run, code=number, message=message)))


def carry_out(run):
    """Does what a command asks."""
    global wanted
    arguments = json.loads(run.arguments)
    print(f"{run.caller} asks for {run.name} {run.arguments}", flush=True)
    if run.name == "heating/get":
        say(run.run, {"celsius": wanted})
    elif run.name == "heating/set":
        wanted = float(arguments["celsius"])
        say(run.run, {"celsius": wanted})
    elif run.name == "heating/ramp":
        start, steps = wanted, int(arguments.get("steps", 1))
        for step in range(1, steps + 1):
            wanted = start + (float(arguments["celsius"]) - start) * step / steps
            say(run.run, {"celsius": wanted})
            time.sleep(0.01)
    end(run.run)


def main():
    with grpc.insecure_channel(ADDRESS) as channel:
        answers.put(register())
        for step in services.CommandsStub(channel).Serve(iter(answers.get, None)):
            if step.HasField("registered"):
                print("serving", flush=True)
            elif step.HasField("run"):
                try:
                    carry_out(step.run)
                except (KeyError, TypeError, ValueError) as error:
                    end(step.run.run, grpc.StatusCode.INVALID_ARGUMENT, f"arguments: {error}")


if __name__ == "__main__":
    main()
