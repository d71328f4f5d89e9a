"""A client of a node, written against `proto/` and gRPC's standard services alone.

Usage: grpc_client.py HOST:PORT PROTO-DIR STUBS-DIR. Generates stubs into STUBS-DIR, uses the node
like any program would, and ends with "all is well" or with what is not.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from importlib import resources

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_tools import protoc

SERIES = "press/oil/temperature"


def generate(schemas, stubs):
    """Compiles the schemas of the repository as a stranger would."""
    well_known = str(resources.files("grpc_tools") / "_proto")
    files = [f"fieldmesh/v1/{name}.proto" for name in ("readings", "mesh")]
    sources = [f"-I{schemas}", f"-I{well_known}"]
    results = [f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
    compiled = protoc.main(["protoc", *sources, *results, *files])
    assert compiled == 0, "the schemas do not compile"
    sys.path.insert(0, stubs)


def check_reflection(channel):
    """The node says which services it has and what they look like."""
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    expected = {"fieldmesh.v1.Readings", "fieldmesh.v1.Mesh", "grpc.health.v1.Health"}
    assert expected <= services, f"services: {services}"
    readings = DescriptorPool(database).FindServiceByName("fieldmesh.v1.Readings")
    methods = {method.name for method in readings.methods}
    assert {"Publish", "Query", "Latest", "Watch", "ListSeries"} <= methods, methods


def check_health(channel):
    """The node is serving, as a whole and service by service."""
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "fieldmesh.v1.Readings", "fieldmesh.v1.Mesh"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, f"{service}: {answer}"


def check_readings(channel, pb, stub):
    """What is published is acknowledged once, answered, and watched as it arrives."""
    start = datetime.now(timezone.utc) - timedelta(minutes=1)
    times = [start + timedelta(milliseconds=250 * n) for n in range(8)]
    values = [20.0 + n / 4 for n in range(8)]
    batch = pb.PublishRequest(publisher="python", publisher_sequence=1)
    for time, value in zip(times, values):
        reading = batch.readings.add(series=SERIES, unit="Cel", labels={"line": "3"})
        reading.time.FromDatetime(time)
        reading.value.double = value

    again = list(stub.Publish(iter([batch, batch]), timeout=10))
    assert [answer.repeated for answer in again] == [False, True], again
    assert again[0].acknowledged == 8, again
    assert again[0].reached.level == pb.Acknowledge.LEVEL_DURABLE, again

    half = pb.QueryRequest(pattern="press/**")
    getattr(half, "from").FromDatetime(times[2])
    half.to.FromDatetime(times[6])
    found = [r for part in stub.Query(half, timeout=10) for r in part.readings]
    assert [r.value.double for r in found] == values[2:6], found
    assert found[0].unit == "Cel" and dict(found[0].labels) == {"line": "3"}, found[0]
    assert found[0].machine == "press-1" and found[0].log_epoch and found[0].sequence == 1, found[0]

    parts = stub.Latest(pb.LatestRequest(pattern="press-1:**"), timeout=10)
    latest = [r for part in parts for r in part.readings]
    assert [r.value.double for r in latest] == [values[-1]], latest
    parts = stub.ListSeries(pb.ListSeriesRequest(), timeout=10)
    series = [s for part in parts for s in part.series]
    assert [(s.series, s.value_type) for s in series] == [(SERIES, pb.VALUE_TYPE_DOUBLE)], series
    check_watch(pb, stub, values)


def check_watch(pb, stub, values):
    """A watcher gets what is held since a time, then what comes, each once."""
    request = pb.WatchRequest(pattern="press/**")
    request.since.FromDatetime(datetime.now(timezone.utc) - timedelta(hours=1))
    watch = stub.Watch(request, timeout=20)
    seen = []
    held = threading.Event()

    def collect():
        for part in watch:
            seen.extend(r.value.double for r in part.readings)
            if len(seen) >= len(values):
                held.set()
            if len(seen) > len(values):
                return

    with ThreadPoolExecutor(1) as pool:
        collected = pool.submit(collect)
        assert held.wait(10), f"a watcher got {seen} of {values}"
        batch = pb.PublishRequest()
        reading = batch.readings.add(series=SERIES, unit="Cel", labels={"line": "3"})
        reading.value.double = -1.0
        list(stub.Publish(iter([batch]), timeout=10))
        collected.result(10)
    watch.cancel()
    assert seen == [*values, -1.0], seen


def check_refusals(pb, stub):
    """What is asked in a wrong way is refused with the right code and a reason."""

    def code_of(answers):
        try:
            list(answers)
        except grpc.RpcError as error:
            assert error.details(), f"{error.code()} without a reason"
            return error.code()
        return None

    turned = pb.QueryRequest(pattern="**")
    getattr(turned, "from").FromDatetime(datetime(2026, 2, 1, tzinfo=timezone.utc))
    turned.to.FromDatetime(datetime(2026, 1, 1, tzinfo=timezone.utc))
    nameless = pb.PublishRequest(readings=[pb.NewReading(value=pb.Value(double=1.0))])
    invalid = {
        "from after to": stub.Query(turned, timeout=5),
        "no pattern": stub.Query(pb.QueryRequest(), timeout=5),
        "no pattern of latest": stub.Latest(pb.LatestRequest(), timeout=5),
        "no pattern of watch": stub.Watch(pb.WatchRequest(), timeout=5),
        "a wrong pattern": stub.Query(pb.QueryRequest(pattern="a//b"), timeout=5),
        "a nameless series": stub.Publish(iter([nameless]), timeout=5),
        "no readings": stub.Publish(iter([pb.PublishRequest()]), timeout=5),
    }
    for what, answers in invalid.items():
        code = code_of(answers)
        assert code == grpc.StatusCode.INVALID_ARGUMENT, f"{what}: {code}"
    unknown = code_of(stub.Latest(pb.LatestRequest(pattern="no/such/series"), timeout=5))
    assert unknown == grpc.StatusCode.NOT_FOUND, unknown


def check_mesh(channel, machine_id):
    """The node says how it is doing."""
    from fieldmesh.v1 import mesh_pb2, mesh_pb2_grpc

    stub = mesh_pb2_grpc.MeshStub(channel)
    status = stub.GetStatus(mesh_pb2.GetStatusRequest(), timeout=5)
    assert status.ready and status.name == "press-1" and status.machine_id == machine_id, status
    topology = stub.GetTopology(mesh_pb2.GetTopologyRequest(), timeout=5)
    assert [machine.machine_id for machine in topology.machines] == [machine_id], topology
    assert not stub.ListRelays(mesh_pb2.ListRelaysRequest(), timeout=5).relays


def main(address, schemas, stubs):
    generate(schemas, stubs)
    from fieldmesh.v1 import readings_pb2, readings_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        check_reflection(channel)
        check_health(channel)
        stub = readings_pb2_grpc.ReadingsStub(channel)
        check_readings(channel, readings_pb2, stub)
        check_refusals(readings_pb2, stub)
        latest = readings_pb2.LatestRequest(pattern="**")
        [reading] = [r for part in stub.Latest(latest, timeout=5) for r in part.readings]
        check_mesh(channel, reading.machine_id)
    print("all is well")


if __name__ == "__main__":
    main(*sys.argv[1:])
