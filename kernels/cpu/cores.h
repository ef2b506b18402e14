// Which cores there are, and which threads run on them.

#ifndef STRATA_KERNELS_CPU_CORES_H_
#define STRATA_KERNELS_CPU_CORES_H_

#include <string>
#include <vector>

namespace strata::kernels {

// Those this process may run on, ascending; never empty.
std::vector<int> AvailableCores();

// The cores of each NUMA node that this process may run on, by the system's folder of nodes. Nodes
// without such cores are left out. One node of all of them where the system says nothing.
std::vector<std::vector<int>> NumaNodes(const std::string& folder = "/sys/devices/system/node");

// The calling thread, and threads that it will start, run on these only; empty: leaves it alone.
// Where the system does not allow it nothing changes: it is a matter of speed.
void BindThisThread(const std::vector<int>& cores);

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_CORES_H_
