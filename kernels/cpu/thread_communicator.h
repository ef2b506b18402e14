// Ranks that are threads of one process, over memory that all of them see.

#ifndef STRATA_KERNELS_CPU_THREAD_COMMUNICATOR_H_
#define STRATA_KERNELS_CPU_THREAD_COMMUNICATOR_H_

#include <chrono>
#include <memory>
#include <vector>

#include "kernels/communicator.h"

namespace strata::kernels {

// The communicators of a group of `size` ranks, by rank. Collectives have run
// when they return. They abort if a rank joins `timeout` later than another, or with other shapes.
// Keeping one of them keeps what all of them share.
std::vector<std::unique_ptr<Communicator>> CreateThreadCommunicators(
    int size, std::chrono::milliseconds timeout);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_THREAD_COMMUNICATOR_H_
