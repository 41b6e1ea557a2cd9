// @vitest-environment node
import type { Kernel } from "@jupyterlab/services";
import { type ISignal, Signal } from "@lumino/signaling";
import { expect, test, vi } from "vitest";
import { connect, RefusedError } from "../src/link.ts";

/** A promise and its key. */
function later() {
  let resolve: (value?: PromiseLike<void>) => void = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done as typeof resolve;
  });
  return { promise, resolve };
}

class FakeComm {
  readonly sent: unknown[] = [];
  readonly subshell = later();
  readonly opened = later();
  opens = 0;
  isDisposed = false;
  commsOverSubshells: string | undefined = "perCommTarget";
  onMsg: (message: unknown) => void = () => {};
  onClose: (message: unknown) => void = () => {};
  readonly subshellStarted = this.subshell.promise;
  open() {
    this.opens++;
    return { done: this.opened.promise };
  }
  send(data: unknown) {
    this.sent.push(data);
  }
}

class FakeKernel {
  readonly info = Promise.resolve({});
  readonly statusChanged = new Signal<this, string>(this);
  readonly disposed: ISignal<this, void> = new Signal<this, void>(this);
  readonly comms: FakeComm[] = [];
  supportsSubshells = true;
  createComm(target: string) {
    expect(target).toBe("lmkit");
    const comm = new FakeComm();
    this.comms.push(comm);
    return comm;
  }
  get last(): FakeComm {
    return this.comms.at(-1) as FakeComm;
  }
}

function kernels() {
  const fake = new FakeKernel();
  return { fake, kernel: fake as unknown as Kernel.IKernelConnection };
}

async function accepted(fake: FakeKernel) {
  fake.last.subshell.resolve();
  fake.last.opened.resolve();
}

test("the comm opens on its subshell, and views wait until the kernel has taken it", async () => {
  const { fake, kernel } = kernels();
  let connected = false;
  const channel = connect(kernel, "v").then(() => {
    connected = true;
  });
  await new Promise((resolve) => setTimeout(resolve));
  expect(fake.last.opens).toBe(0);
  fake.last.subshell.resolve();
  await vi.waitFor(() => expect(fake.last.opens).toBe(1));
  expect(connected).toBe(false);
  fake.last.opened.resolve();
  await channel;
});

test.each([
  ["a kernel without subshells", { supportsSubshells: false }, {}],
  ["subshells turned off", {}, { commsOverSubshells: "disabled" }],
])("%s is not waited for", async (_, kernelHas, commHas) => {
  const { fake, kernel } = kernels();
  Object.assign(fake, kernelHas);
  const channel = connect(kernel, "v");
  Object.assign(fake.last, commHas);
  fake.last.opened.resolve();
  await channel;
  expect(fake.last.opens).toBe(1);
});

test("a subshell that cannot be had costs speed, not the connection", async () => {
  const { fake, kernel } = kernels();
  const channel = connect(kernel, "v");
  fake.last.subshell.resolve(Promise.reject(new Error("no more subshells")));
  fake.last.opened.resolve();
  await channel;
});

test("a kernel that closes the comm says that lmkit is not loaded; the next view asks again", async () => {
  const { fake, kernel } = kernels();
  const refused = expect(connect(kernel, "v")).rejects.toThrow(RefusedError);
  fake.last.subshell.resolve();
  await vi.waitFor(() => expect(fake.last.opens).toBe(1));
  fake.last.onClose({});
  fake.last.opened.resolve();
  await refused;
  const again = connect(kernel, "v");
  expect(fake.comms.length).toBe(2);
  await accepted(fake);
  await again;
});

test("all views of a page share one comm, and each hears its own messages only", async () => {
  const { fake, kernel } = kernels();
  const both = Promise.all([connect(kernel, "one"), connect(kernel, "two")]);
  await accepted(fake);
  const [one, two] = await both;
  expect(fake.comms.length).toBe(1);
  const [heardOne, heardTwo] = [vi.fn(), vi.fn()];
  const deaf = one.listen(heardOne);
  two.listen(heardTwo);
  const hello = { type: "cancel", id: "1", view: "one", target: "2" } as const;
  one.send(hello);
  expect(fake.last.sent).toEqual([hello]);

  const bytes = new Uint8Array([1, 2]);
  const data = { view: "one", type: "done" };
  fake.last.onMsg({ content: { data }, buffers: [bytes.buffer, new DataView(bytes.buffer)] });
  expect(heardOne).toHaveBeenCalledOnce();
  const [message, buffers] = heardOne.mock.calls[0] as [unknown, ArrayBufferView[]];
  expect(message).toEqual(data);
  expect(buffers.map((buffer) => buffer.byteLength)).toEqual([2, 2]);
  expect(heardTwo).not.toHaveBeenCalled();

  fake.last.onMsg({ content: { data: { type: "status" } } });
  deaf();
  two.close();
  fake.last.onMsg({ content: { data } });
  fake.last.onMsg({ content: { data: { view: "two" } } });
  expect(heardOne).toHaveBeenCalledOnce();
  expect(heardTwo).not.toHaveBeenCalled();
});

test.each(["restarting", "autorestarting", "dead"])(
  "a kernel that is %s ends the channels, and a new view opens a new comm",
  async (status) => {
    const { fake, kernel } = kernels();
    const connecting = connect(kernel, "v");
    await accepted(fake);
    const channel = await connecting;
    const [closed, unheard] = [vi.fn(), vi.fn()];
    channel.onClose(closed);
    channel.onClose(unheard)();
    fake.statusChanged.emit("busy");
    expect(closed).not.toHaveBeenCalled();
    fake.last.isDisposed = true;
    fake.statusChanged.emit(status);
    expect(closed).toHaveBeenCalledOnce();
    expect(unheard).not.toHaveBeenCalled();
    channel.send({ type: "cancel", id: "1", view: "v", target: "2" });
    expect(fake.last.sent).toEqual([]);
    const late = vi.fn();
    channel.onClose(late);
    await vi.waitFor(() => expect(late).toHaveBeenCalledOnce());

    const again = connect(kernel, "v");
    expect(fake.comms.length).toBe(2);
    await accepted(fake);
    await again;
  },
);

test("a message lost with its kernel is the end of the connection, said in words", async () => {
  const { fake, kernel } = kernels();
  const refused = expect(connect(kernel, "v")).rejects.toThrow(
    "The connection to the kernel ended",
  );
  fake.last.opened.promise = Promise.reject(new Error("Canceled future for comm_open message"));
  fake.last.subshell.resolve();
  await refused;
});

test("a kernel that restarts while the comm opens leaves no view waiting", async () => {
  const { fake, kernel } = kernels();
  const refused = expect(connect(kernel, "v")).rejects.toThrow(
    "The connection to the kernel ended",
  );
  await new Promise((resolve) => setTimeout(resolve));
  fake.statusChanged.emit("restarting");
  await refused;
});
