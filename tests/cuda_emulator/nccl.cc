// The part of NCCL that we use, among emulated GPUs of one process: a collective runs when all
// ranks' streams have come to it. Ranks that call different ones end the process.

#include <cuda_bf16.h>
#include <nccl.h>

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <source_location>
#include <string>
#include <vector>

#include "tests/cuda_emulator/block.h"
#include "tests/cuda_emulator/device_memory.h"
#include "tests/cuda_emulator/stream.h"

namespace {

using strata::cuda_emulator::DeviceAtWork;
using strata::cuda_emulator::Fail;
using strata::cuda_emulator::FromHandle;
using strata::cuda_emulator::IsDeviceMemory;
using strata::cuda_emulator::IsFailing;
using strata::cuda_emulator::IsWithinAllocation;

// What a rank brings to a collective.
struct Call {
  const char* name = nullptr;
  const void* from = nullptr;
  void* to = nullptr;
  size_t count = 0;
  ncclDataType_t type = ncclUint8;
  int root = 0;

  size_t Bytes() const { return count * (type == ncclFloat32 ? 4 : 1); }
  bool Matches(const Call& other) const {
    return std::strcmp(name, other.name) == 0 && count == other.count && type == other.type &&
           root == other.root;
  }
  std::string Text() const { return std::string(name) + " of " + std::to_string(count); }
};

struct Meeting {
  std::vector<Call> calls;  // by rank; name null: not there yet
  size_t num_arrived = 0;
  size_t num_left = 0;
};

struct Group {
  std::mutex mu;
  size_t size = 0;
  bool aborted = false;
  std::map<int64_t, Meeting> meetings;  // by their number
};

struct Comm {
  std::shared_ptr<Group> group;
  int rank = 0;
  int64_t num_calls = 0;
};

Comm* Of(ncclComm_t handle) { return reinterpret_cast<Comm*>(handle); }

void Check(const void* data, size_t bytes, const Call& call) {
  if (!IsDeviceMemory(data) || !IsWithinAllocation(data, bytes)) {
    Fail(call.Text() + ": not all of its memory is a device's", std::source_location::current());
  }
}

// NCCL's order of sums is its own; here it is from the last rank to the first, so that nobody
// relies on the order of ranks.
void Run(const std::vector<Call>& calls) {
  const DeviceAtWork at_work;
  const Call& first = calls.front();
  const size_t bytes = first.Bytes();
  const bool gathers = std::strcmp(first.name, "ncclAllGather") == 0;
  for (const Call& call : calls) {
    Check(call.from, bytes, call);
    Check(call.to, gathers ? bytes * calls.size() : bytes, call);
  }
  std::vector<char> result;
  if (gathers) {
    for (const Call& call : calls) {
      const auto* from = static_cast<const char*>(call.from);
      result.insert(result.end(), from, from + bytes);
    }
  } else if (std::strcmp(first.name, "ncclBroadcast") == 0) {
    const auto* from = static_cast<const char*>(calls[first.root].from);
    result.assign(from, from + bytes);
  } else {
    std::vector<float> sums(first.count);
    for (size_t r = calls.size(); r-- > 0;) {
      const auto* from = static_cast<const float*>(calls[r].from);
      for (size_t i = 0; i < first.count; ++i) sums[i] += from[i];
    }
    result.resize(bytes);
    std::memcpy(result.data(), sums.data(), bytes);
  }
  for (const Call& call : calls) std::memcpy(call.to, result.data(), result.size());
}

// False: some rank is not there yet.
bool Join(Group& group, int rank, int64_t number, const Call& call) {
  const std::lock_guard lock(group.mu);
  if (group.aborted) return true;
  Meeting& meeting = group.meetings[number];
  meeting.calls.resize(group.size);
  if (meeting.calls[rank].name == nullptr) {
    for (const Call& other : meeting.calls) {
      if (other.name != nullptr && !call.Matches(other)) {
        Fail("ranks call different collectives: " + call.Text() + ", and " + other.Text(),
             std::source_location::current());
      }
    }
    meeting.calls[rank] = call;
    if (++meeting.num_arrived == group.size) Run(meeting.calls);
  }
  if (meeting.num_arrived < group.size) return false;
  if (++meeting.num_left == group.size) group.meetings.erase(number);
  return true;
}

ncclResult_t Enqueue(ncclComm_t handle, cudaStream_t stream, const Call& call) {
  if (IsFailing(call.name)) return ncclUnhandledCudaError;
  Comm* comm = Of(handle);
  const auto group = comm->group;
  const int rank = comm->rank;
  const int64_t number = comm->num_calls++;
  FromHandle(stream).AddUntilDone([=] { return Join(*group, rank, number, call); });
  return ncclSuccess;
}

}  // namespace

extern "C" {

ncclResult_t ncclCommInitAll(ncclComm_t* comms, int size, const int*) {
  if (IsFailing("ncclCommInitAll")) return ncclSystemError;
  const auto group = std::make_shared<Group>();
  group->size = static_cast<size_t>(size);
  for (int rank = 0; rank < size; ++rank) {
    comms[rank] = reinterpret_cast<ncclComm_t>(new Comm{group, rank, 0});
  }
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  delete Of(comm);
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  {
    const std::lock_guard lock(Of(comm)->group->mu);
    Of(comm)->group->aborted = true;
  }
  return ncclCommDestroy(comm);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
  *error = IsFailing("ncclCommGetAsyncError") ? ncclRemoteError : ncclSuccess;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclSystemError:
      return "unhandled system error";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    default:
      return "unhandled cuda error";
  }
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t comm, cudaStream_t stream) {
  return Enqueue(comm, stream, {"ncclAllReduce", from, to, count, type, 0});
}

ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return Enqueue(comm, stream, {"ncclAllGather", from, to, count, type, 0});
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return Enqueue(comm, stream, {"ncclBroadcast", from, to, count, type, root});
}

}  // extern "C"
