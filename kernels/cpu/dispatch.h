// Chooses the instruction set, once per backend, by what this CPU has.

#ifndef STRATA_KERNELS_CPU_DISPATCH_H_
#define STRATA_KERNELS_CPU_DISPATCH_H_

#include <string>
#include <vector>

#include "kernels/cpu/kernel_table.h"

namespace strata::kernels {

// `isa` as in CpuBackendOptions. Throws DeviceError.
const KernelTable& ChooseKernels(WeightFormat weights, const std::string& isa);

// Every table this CPU can run with weights in this format, worst set first. Tables
// of the same name give the same bits.
std::vector<const KernelTable*> AvailableKernels(WeightFormat weights);

// The probes of every set this CPU can run, worst first.
std::vector<const ProbeTable*> AvailableProbes();

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_DISPATCH_H_
