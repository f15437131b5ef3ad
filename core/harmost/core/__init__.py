"""What decides: pure, without I/O, clock, asyncio or grpc. Hot parts in Cython."""
