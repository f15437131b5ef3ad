// Runs the interop cases with grpc-js. usage: node interop.js address wiretest.proto
"use strict";
const assert = require("node:assert");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, proto] = process.argv.slice(2);
const definition = loader.loadSync(proto, { keepCase: true, defaults: true });
const testing = grpc.loadPackageDefinition(definition).grpc.testing;
const plain = grpc.credentials.createInsecure();
const client = new testing.TestService(address, plain);
const unimplemented = new testing.UnimplementedService(address, plain);
const requestSizes = [27182, 8, 1828, 45904];
const responseSizes = [31415, 9, 2653, 58979];
const payload = (size) => ({ body: Buffer.alloc(size) });
const asking = (size) => ({ response_parameters: [{ size }] });

// Answer, status and metadata of a unary call.
function unary(stub, method, request, metadata = new grpc.Metadata(), options = {}) {
  return new Promise((resolve) => {
    const seen = {};
    const call = stub[method](request, metadata, options, (error, answer) => {
      Object.assign(seen, { error, answer });
    });
    call.on("metadata", (initial) => (seen.initial = initial));
    call.on("status", (status) => resolve({ ...seen, status }));
  });
}

// Messages and status of a call that streams.
function collect(call) {
  return new Promise((resolve) => {
    const messages = [];
    call.on("data", (message) => messages.push(message));
    call.on("error", () => {});
    call.on("status", (status) => resolve({ messages, status }));
  });
}

const cases = {
  async empty_unary() {
    assert.equal((await unary(client, "EmptyCall", {})).status.code, grpc.status.OK);
  },
  async large_unary() {
    const request = { response_size: 314159, payload: payload(271828) };
    assert.equal((await unary(client, "UnaryCall", request)).answer.payload.body.length, 314159);
  },
  async client_streaming() {
    const size = await new Promise((resolve, reject) => {
      const call = client.StreamingInputCall((error, answer) =>
        error ? reject(error) : resolve(answer.aggregated_payload_size));
      for (const n of requestSizes) call.write({ payload: payload(n) });
      call.end();
    });
    assert.equal(size, 74922);
  },
  async server_streaming() {
    const request = { response_parameters: responseSizes.map((size) => ({ size })) };
    const { messages, status } = await collect(client.StreamingOutputCall(request));
    assert.deepEqual(messages.map((m) => m.payload.body.length), responseSizes);
    assert.equal(status.code, grpc.status.OK);
  },
  async ping_pong() {
    const call = client.FullDuplexCall();
    let next = 0;
    call.on("data", (message) => {
      assert.equal(message.payload.body.length, responseSizes[next++]);
      if (next < 4) call.write({ ...asking(responseSizes[next]), payload: payload(requestSizes[next]) });
      else call.end();
    });
    call.write({ ...asking(responseSizes[0]), payload: payload(requestSizes[0]) });
    const status = await new Promise((resolve) => call.on("status", resolve));
    assert.deepEqual([status.code, next], [grpc.status.OK, 4]);
  },
  async empty_stream() {
    const call = client.FullDuplexCall();
    call.end();
    const { messages, status } = await collect(call);
    assert.deepEqual([messages.length, status.code], [0, grpc.status.OK]);
  },
  async cancel_after_begin() {
    const call = client.StreamingInputCall(() => {});
    call.on("error", () => {});
    const status = new Promise((resolve) => call.on("status", resolve));
    call.cancel();
    assert.equal((await status).code, grpc.status.CANCELLED);
  },
  async cancel_after_first_response() {
    const call = client.FullDuplexCall();
    call.on("data", () => call.cancel());
    call.write(asking(31415));
    assert.equal((await collect(call)).status.code, grpc.status.CANCELLED);
  },
  async timeout_on_sleeping_server() {
    const { status } = await unary(client, "Sleep", {}, undefined, { deadline: Date.now() + 50 });
    assert.equal(status.code, grpc.status.DEADLINE_EXCEEDED);
  },
  async custom_metadata() {
    const metadata = new grpc.Metadata();
    metadata.set("x-grpc-test-echo-initial", "test_initial_metadata_value");
    metadata.set("x-grpc-test-echo-trailing-bin", Buffer.from([0xab, 0xab, 0xab]));
    const { initial, status } = await unary(client, "UnaryCall", { response_size: 9 }, metadata);
    assert.deepEqual(initial.get("x-grpc-test-echo-initial"), ["test_initial_metadata_value"]);
    const trailing = status.metadata.get("x-grpc-test-echo-trailing-bin");
    assert.deepEqual(trailing, [Buffer.from([0xab, 0xab, 0xab])]);
  },
  async status_code_and_message() {
    const request = { response_status: { code: 2, message: "test status message" } };
    const { status } = await unary(client, "UnaryCall", request);
    assert.deepEqual([status.code, status.details], [2, "test status message"]);
  },
  async special_status_message() {
    const message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
    const { status } = await unary(client, "UnaryCall", { response_status: { code: 2, message } });
    assert.deepEqual([status.code, status.details], [2, message]);
  },
  async unimplemented_method() {
    const { status } = await unary(client, "UnimplementedCall", {});
    assert.equal(status.code, grpc.status.UNIMPLEMENTED);
  },
  async unimplemented_service() {
    const { status } = await unary(unimplemented, "UnimplementedCall", {});
    assert.equal(status.code, grpc.status.UNIMPLEMENTED);
  },
  async compressed_unary() {
    const request = { response_size: 3141, response_compressed: { value: true } };
    assert.equal((await unary(client, "UnaryCall", request)).answer.payload.body.length, 3141);
  },
};

(async () => {
  for (const [name, run] of Object.entries(cases)) {
    await run();
    console.log("ok", name);
  }
  client.close();
  unimplemented.close();
  process.exit(0); // grpc-js may hold its sockets for a while
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
