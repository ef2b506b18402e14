// Collective operations among the ranks of a tensor-parallel group: what a port
// to new hardware must provide beside its Backend to run a model on several
// devices.
//
// Each rank has a Backend and a Communicator of its own, and a thread that uses
// both. A group's Communicators are made together (CreateThreadCommunicators,
// for instance) and know each other; rank r's is the r-th.
//
// Order. Every rank calls the same collectives, with equal shapes and types, in
// the same order.
//
// Streams. Tensors are the rank's device memory. Collectives and the
// operations of the rank's backend take effect in the order in which the rank's
// thread calls them: a collective sees what operations before it have written,
// and operations after it see its result. Like operations, a collective may
// return before it has run: a communicator of an asynchronous backend enqueues
// on that backend's stream, and ReadBack and Synchronize wait for collectives
// too. Only Barrier waits by itself.
//
// Fixed order of sums (REQUIRED). The bits of AllReduceSum depend on the ranks'
// elements alone, added up in order of rank: ((x0 + x1) + x2) + ..., never on
// how many elements are reduced with them, nor on time; all ranks get the same
// bits. The row-count invariance of backend.h would be lost without it. A
// communicator over a library that promises no order gathers and adds up, or
// says by deterministic() that it does not hold.
//
// Failure. There is no waiting forever: a rank that cannot go on calls Abort,
// and a collective that some rank does not join within the group's time-out
// aborts by itself. From then on every collective of every rank (for asynchronous ones: the next
// ReadBack or Synchronize of its backend, which therefore watches for it while
// it waits) throws CommunicatorError with the first reason given. An aborted
// group stays aborted.
//
// Thread rule. As of Backend; Abort from any thread.

#ifndef STRATA_KERNELS_COMMUNICATOR_H_
#define STRATA_KERNELS_COMMUNICATOR_H_

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/tensor.h"

namespace strata::kernels {

// A group of ranks that cannot go on. what() is the first reason.
class CommunicatorError : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;  // number of ranks
  virtual bool deterministic() const { return true; }

  // x = the sum of all ranks' x.  x f32 [n, cols]
  virtual void AllReduceSum(TensorView x) = 0;
  // Gives every rank all rows. Before, rank r's x holds rows [r * n, (r + 1) * n).
  // x [size * n, cols], any type
  virtual void AllGather(TensorView x) = 0;
  // x = `root`'s x.  x [n, cols], any type
  virtual void Broadcast(TensorView x, int root) = 0;
  // Returns when all ranks have called it, and all that they called before has run.
  virtual void Barrier() = 0;

  // Ends the group. Does nothing if it has ended.
  virtual void Abort(const std::string& reason) = 0;
};

// The only rank of a group of one, on any device: nothing to exchange, nobody to wait for or to
// tell.
class LocalCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void AllReduceSum(TensorView) override {}
  void AllGather(TensorView) override {}
  void Broadcast(TensorView, int) override {}
  void Barrier() override {}
  void Abort(const std::string&) override {}
};

// What one rank computes with.
struct RankDevice {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Communicator> communicator;
  std::vector<int> cores;  // that the thread which calls it should run on; empty: any
};

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_COMMUNICATOR_H_
