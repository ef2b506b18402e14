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

// BindThisThread for a while: the destructor, on the same thread, gives back the cores of before.
// Threads started meanwhile keep these.
class BoundScope {
 public:
  explicit BoundScope(const std::vector<int>& cores);
  ~BoundScope();
  BoundScope(const BoundScope&) = delete;
  BoundScope& operator=(const BoundScope&) = delete;

 private:
  const std::vector<int> before_;  // empty: nothing has changed
};

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_CORES_H_
