//! The libp2p swarm: discovery, connections, streams.
