#include "kernels/cpu/cores.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

namespace strata::kernels {
namespace {

// "0-3,8,10-11", as the system writes lists of cores.
std::vector<int> ParseCoreList(const std::string& text) {
  std::vector<int> cores;
  std::stringstream ranges(text);
  for (std::string range; std::getline(ranges, range, ',');) {
    std::stringstream numbers(range);
    int first = 0;
    char dash = 0;
    int last = 0;
    if (!(numbers >> first)) continue;
    if (!(numbers >> dash >> last)) last = first;
    for (int core = first; core <= last && core < CPU_SETSIZE; ++core) cores.push_back(core);
  }
  return cores;
}

}  // namespace

std::vector<int> AvailableCores() {
  std::vector<int> cores;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
  }
  if (!cores.empty()) return cores;
  const int count = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  for (int core = 0; core < count; ++core) cores.push_back(core);
  return cores;
}

std::vector<std::vector<int>> NumaNodes(const std::string& folder) {
  const std::vector<int> available = AvailableCores();
  std::string online;
  std::getline(std::ifstream(folder + "/online"), online);
  std::vector<std::vector<int>> nodes;
  for (const int node : ParseCoreList(online)) {
    std::string list;
    std::getline(std::ifstream(folder + "/node" + std::to_string(node) + "/cpulist"), list);
    std::vector<int> cores;
    for (const int core : ParseCoreList(list)) {
      if (std::binary_search(available.begin(), available.end(), core)) cores.push_back(core);
    }
    if (!cores.empty()) nodes.push_back(std::move(cores));
  }
  if (nodes.empty()) nodes.push_back(available);
  return nodes;
}

void BindThisThread(const std::vector<int>& cores) {
  if (cores.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(core, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

BoundScope::BoundScope(const std::vector<int>& cores)
    : before_(cores.empty() ? std::vector<int>{} : AvailableCores()) {
  BindThisThread(cores);
}

BoundScope::~BoundScope() { BindThisThread(before_); }

}  // namespace strata::kernels
