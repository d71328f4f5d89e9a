//! Local testnets: real processes, real sockets, faults.
