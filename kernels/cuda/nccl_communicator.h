// Collectives among GPUs, by NCCL, in the stream of each rank's backend.
//
// Deterministic: AllReduceSum gathers, and adds up in order of rank. Otherwise it is NCCL's own,
// faster, whose order depends on the place of an element in the tensor, and so on the number of
// rows.

#ifndef STRATA_KERNELS_CUDA_NCCL_COMMUNICATOR_H_
#define STRATA_KERNELS_CUDA_NCCL_COMMUNICATOR_H_

#include <nccl.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "kernels/communicator.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/rank_group.h"

namespace strata::kernels::cuda {

class NcclCommunicator final : public Communicator {
 public:
  // Those of a group on these devices, by rank. From then on whoever waits for one of the devices
  // watches for the group's end, and ends it if the wait is longer than the group's time-out.
  // Throws DeviceError.
  static std::vector<std::unique_ptr<Communicator>> CreateGroup(
      const std::vector<std::shared_ptr<Device>>& devices, std::chrono::milliseconds timeout,
      bool deterministic);
  ~NcclCommunicator() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  bool deterministic() const override { return deterministic_; }
  void AllReduceSum(TensorView x) override;
  void AllGather(TensorView x) override;
  void Broadcast(TensorView x, int root) override;
  void Barrier() override;
  void Abort(const std::string& reason) override { group_->Abort(reason); }

 private:
  NcclCommunicator(std::shared_ptr<Device> device, std::shared_ptr<RankGroup> group,
                   ncclComm_t comm, int rank, int size, bool deterministic);
  // Before a collective. Throws CommunicatorError.
  void Begin();
  void Check(ncclResult_t result);
  void Watch(std::chrono::steady_clock::duration waited);

  const std::shared_ptr<Device> device_;
  const std::shared_ptr<RankGroup> group_;
  ncclComm_t comm_;
  const int rank_;
  const int size_;
  const bool deterministic_;
  bool comm_aborted_ = false;
  Scratch gathered_;
  Buffer token_;  // f32 [1], for Barrier
};

}  // namespace strata::kernels::cuda

#endif  // STRATA_KERNELS_CUDA_NCCL_COMMUNICATOR_H_
