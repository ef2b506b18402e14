// MakeRankDevices with a rank that goes wrong: linked with server/main.cc, it makes a strata-server
// that fails as STRATA_TEST_FAULT says, "RANK:OPERATION:N:WHAT". At its N-th such operation (as of
// tests/fakes/faulty_rank.h) the rank runs out of memory (WHAT is "memory") or never comes back
// ("hang"). Operations count once the file STRATA_TEST_FAULT_WHEN exists, if it names one.

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "kernels/cpu/cpu_ranks.h"
#include "server/rank_devices.h"
#include "tests/fakes/faulty_rank.h"

namespace strata::server {
namespace {

struct Plan {
  int rank = 0;
  std::string operation;
  int count = 0;
  std::string what;
  std::string when;  // a file; empty: at once
};

Plan ReadPlan(const std::string& text) {
  std::stringstream fields(text);
  std::string rank, count;
  Plan plan;
  std::getline(fields, rank, ':');
  std::getline(fields, plan.operation, ':');
  std::getline(fields, count, ':');
  std::getline(fields, plan.what);
  plan.rank = std::atoi(rank.c_str());
  plan.count = std::atoi(count.c_str());
  return plan;
}

Fault MakeFault(const Plan& plan) {
  const auto count = std::make_shared<std::atomic<int>>(0);
  return [plan, count](const std::string& operation) {
    if (!plan.when.empty() && !std::filesystem::exists(plan.when)) return;
    if (operation != plan.operation || ++*count != plan.count) return;
    if (plan.what == "memory") throw kernels::DeviceError("out of memory: 5 GiB more are needed");
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  };
}

}  // namespace

absl::StatusOr<std::vector<kernels::RankDevice>> MakeRankDevices(const Options& options,
                                                                 const Checkpoint&) {
  kernels::CpuBackendOptions cpu;
  cpu.num_threads = options.threads;
  auto ranks = kernels::CreateCpuRanks(cpu, options.tensor_parallel, options.engine.rank_timeout);
  Plan plan = ReadPlan(std::getenv("STRATA_TEST_FAULT"));
  if (const char* when = std::getenv("STRATA_TEST_FAULT_WHEN")) plan.when = when;
  ranks.at(plan.rank) = MakeFaulty(std::move(ranks.at(plan.rank)), MakeFault(plan));
  return ranks;
}

}  // namespace strata::server
