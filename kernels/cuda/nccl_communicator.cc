#include "kernels/cuda/nccl_communicator.h"

#include <utility>

#include "kernels/cuda/row_kernels.h"

namespace strata::kernels::cuda {
namespace {

size_t BytesOf(const TensorView& x) {
  return static_cast<size_t>(x.rows * x.cols) * SizeOf(x.dtype);
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> NcclCommunicator::CreateGroup(
    const std::vector<std::shared_ptr<Device>>& devices, std::chrono::milliseconds timeout,
    bool deterministic) {
  const int size = static_cast<int>(devices.size());
  std::vector<int> indices;
  for (const auto& device : devices) indices.push_back(device->index());
  std::vector<ncclComm_t> comms(devices.size());
  const ncclResult_t result = ncclCommInitAll(comms.data(), size, indices.data());
  if (result != ncclSuccess) {
    throw DeviceError("NCCL cannot connect " + std::to_string(size) +
                      " GPUs: " + ncclGetErrorString(result) +
                      "; the environment's NCCL_DEBUG=INFO makes it say why");
  }
  const auto group = std::make_shared<RankGroup>(timeout);
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (int rank = 0; rank < size; ++rank) {
    communicators.emplace_back(
        new NcclCommunicator(devices[rank], group, comms[rank], rank, size, deterministic));
  }
  return communicators;
}

NcclCommunicator::NcclCommunicator(std::shared_ptr<Device> device, std::shared_ptr<RankGroup> group,
                                   ncclComm_t comm, int rank, int size, bool deterministic)
    : device_(std::move(device)),
      group_(std::move(group)),
      comm_(comm),
      rank_(rank),
      size_(size),
      deterministic_(deterministic),
      token_(Device::AllocateZeroed(device_, sizeof(float))) {
  device_->WatchWhileWaiting([this](auto waited) { Watch(waited); });
}

NcclCommunicator::~NcclCommunicator() {
  device_->WatchWhileWaiting(nullptr);
  if (comm_aborted_) return;
  if (group_->aborted()) {
    ncclCommAbort(comm_);
  } else {
    ncclCommDestroy(comm_);
  }
}

// Called by the rank's own thread, again and again, while it waits for the device.
void NcclCommunicator::Watch(std::chrono::steady_clock::duration waited) {
  ncclResult_t state = ncclSuccess;
  if (!comm_aborted_) ncclCommGetAsyncError(comm_, &state);
  if (state != ncclSuccess && state != ncclInProgress) {
    group_->Abort("rank " + std::to_string(rank_) + ": NCCL: " + ncclGetErrorString(state));
  }
  if (waited > group_->timeout()) {
    group_->Abort("rank " + std::to_string(rank_) + " has waited " +
                  std::to_string(group_->timeout().count()) +
                  " ms for its GPU: another rank has not joined a collective");
  }
  if (!group_->aborted()) return;
  if (!comm_aborted_) ncclCommAbort(comm_);  // ends what the device is waiting in
  comm_aborted_ = true;
  group_->ThrowIfAborted();
}

void NcclCommunicator::Begin() {
  group_->ThrowIfAborted();
  device_->Select();
}

void NcclCommunicator::Check(ncclResult_t result) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  group_->Abort("rank " + std::to_string(rank_) + ": NCCL: " + ncclGetErrorString(result));
  group_->ThrowIfAborted();
}

void NcclCommunicator::AllReduceSum(TensorView x) {
  Begin();
  if (x.rows == 0) return;
  const size_t count = static_cast<size_t>(x.rows * x.cols);
  if (!deterministic_) {
    return Check(
        ncclAllReduce(x.data, x.data, count, ncclFloat32, ncclSum, comm_, device_->stream()));
  }
  auto* all = static_cast<float*>(gathered_.Get(device_, size_ * BytesOf(x)));
  Check(ncclAllGather(x.data, all, count, ncclFloat32, comm_, device_->stream()));
  SumRanks(device_->stream(), all, size_, static_cast<int64_t>(count), x.as<float>());
}

void NcclCommunicator::AllGather(TensorView x) {
  Begin();
  if (x.rows == 0) return;
  const size_t part = BytesOf(x) / size_;
  Check(ncclAllGather(x.as<char>() + rank_ * part, x.data, part, ncclUint8, comm_,
                      device_->stream()));
}

void NcclCommunicator::Broadcast(TensorView x, int root) {
  Begin();
  if (x.rows == 0) return;
  Check(ncclBroadcast(x.data, x.data, BytesOf(x), ncclUint8, root, comm_, device_->stream()));
}

void NcclCommunicator::Barrier() {
  Begin();
  Check(ncclAllReduce(token_.data(), token_.data(), 1, ncclFloat32, ncclSum, comm_,
                      device_->stream()));
  device_->Synchronize();
}

}  // namespace strata::kernels::cuda
