#include "kernels/cpu/dispatch.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"

namespace strata::kernels {
namespace {

#ifdef STRATA_X86
bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool HasAvx512Bf16() { return HasAvx512() && __builtin_cpu_supports("avx512bf16"); }
bool HasAvx512Vnni() { return HasAvx512() && __builtin_cpu_supports("avx512vnni"); }

double SecondsOfProduct(const KernelTable& kernels, const MatMulTask& task) {
  const auto start = std::chrono::steady_clock::now();
  kernels.mat_mul(task);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Dot instruction or widened FMA: the same bits, so a wrong guess by a noisy
// clock costs speed only. About half a millisecond, once per process.
const KernelTable* FasterAvx512Bf16() {
  constexpr int64_t kRows = 48;
  constexpr int64_t kK = 512;
  const KernelTable* dot = Avx512Bf16Kernels();
  const KernelTable* fma = Avx512Bf16FmaKernels();
  const int64_t n = dot->panel_cols;
  const std::vector<uint16_t> a(kRows * kK, 0x3f80);
  const std::vector<uint16_t> w(n * kK, 0x3f80);
  std::vector<float> out(kRows * n);
  const MatMulTask task{a.data(), w.data(), kRows, kK, n, 0, 1, out.data(), false};
  double dot_s = 1e9;
  double fma_s = 1e9;
  for (int i = 0; i < 8; ++i) {
    dot_s = std::min(dot_s, SecondsOfProduct(*dot, task));
    fma_s = std::min(fma_s, SecondsOfProduct(*fma, task));
  }
  return fma_s < dot_s ? fma : dot;
}
#endif

#ifdef STRATA_X86
// Null if this CPU lacks what these weights need.
const KernelTable* FindAvx512(WeightFormat weights) {
  switch (weights) {
    case WeightFormat::kF32:
      return HasAvx512() ? Avx512F32Kernels() : nullptr;
    case WeightFormat::kBF16: {
      if (!HasAvx512Bf16()) return nullptr;
      static const KernelTable* const faster = FasterAvx512Bf16();
      return faster;
    }
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      return HasAvx512Vnni() ? Avx512VnniKernels(weights) : nullptr;
  }
  return nullptr;
}
#endif

// Null if the set is not available with this weight format.
const KernelTable* Find(WeightFormat weights, const std::string& isa) {
  if (isa == "generic") return GenericKernels(weights);
#ifdef STRATA_X86
  if (isa == "avx2" && HasAvx2()) return Avx2Kernels(weights);
  if (isa == "avx512") return FindAvx512(weights);
#endif
  return nullptr;
}

std::string Join(const std::vector<std::string>& names) {
  std::string joined;
  for (const std::string& name : names) joined += (joined.empty() ? "" : ", ") + name;
  return joined;
}

}  // namespace

std::vector<std::string> AvailableCpuIsas() {
  std::vector<std::string> isas = {"generic"};
#ifdef STRATA_X86
  if (HasAvx2()) isas.push_back("avx2");
  if (HasAvx512()) isas.push_back("avx512");
#endif
  return isas;
}

const KernelTable& ChooseKernels(WeightFormat weights, const std::string& isa) {
  std::string forced = isa;
  std::string source = "the option isa";
  if (const char* env = std::getenv("STRATA_CPU_ISA"); forced.empty() && env != nullptr) {
    forced = env;
    source = "STRATA_CPU_ISA";
  }
  std::vector<std::string> usable;
  for (const std::string& name : AvailableCpuIsas()) {
    if (Find(weights, name) != nullptr) usable.push_back(name);
  }
  const KernelTable* kernels = Find(weights, forced.empty() ? usable.back() : forced);
  if (kernels == nullptr) {
    throw DeviceError("instruction set \"" + forced + "\" (from " + source +
                      ") is unknown or this CPU lacks it for " + NameOf(weights) +
                      " weights; available: " + Join(usable));
  }
  return *kernels;
}

std::vector<const KernelTable*> AvailableKernels(WeightFormat weights) {
  std::vector<const KernelTable*> tables = {GenericKernels(weights)};
#ifdef STRATA_X86
  if (HasAvx2()) tables.push_back(Avx2Kernels(weights));
  if (weights == WeightFormat::kBF16 && HasAvx512Bf16()) {
    tables.push_back(Avx512Bf16Kernels());
    tables.push_back(Avx512Bf16FmaKernels());
  } else if (const KernelTable* avx512 = FindAvx512(weights); avx512 != nullptr) {
    tables.push_back(avx512);
  }
#endif
  return tables;
}

std::vector<const ProbeTable*> AvailableProbes() {
  std::vector<const ProbeTable*> probes = {GenericProbes()};
#ifdef STRATA_X86
  if (HasAvx2()) probes.push_back(Avx2Probes());
  if (HasAvx512()) probes.push_back(Avx512Probes());
  if (HasAvx512Bf16()) probes.push_back(Avx512Bf16Probes());
  if (HasAvx512Vnni()) probes.push_back(Avx512VnniProbes());
#endif
  return probes;
}

}  // namespace strata::kernels
