//! One port for Connect, gRPC, gRPC-Web and plain HTTP; tenants, capabilities, and the one table of errors.
