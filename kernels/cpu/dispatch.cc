#include "kernels/cpu/dispatch.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/tile_unit.h"

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
// Where there are tiles, what they leave to others is AVX-512's.
bool HasAmx() { return HasAvx512Vnni() && CanUseTiles(); }

double SecondsOfProduct(const KernelTable& kernels, const MatMulTask& task) {
  const auto start = std::chrono::steady_clock::now();
  kernels.mat_mul(task);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of two that give the same bits, so that a wrong guess by a noisy clock costs speed only. Rows as
// in a batch and in a prefill; operands and weights are zeros, which cost the same as others.
const KernelTable* FasterOf(const KernelTable* one, const KernelTable* other) {
  constexpr int64_t kRows = 48;
  constexpr int64_t kBatchRows = 16;
  constexpr int64_t kK = 512;
  constexpr int64_t kMostBytes = 4;  // of an operand or a weight, scales included
  const int64_t n = one->panel_cols;
  const std::vector<char> a(kRows * kK * kMostBytes);
  const std::vector<char> w(n * kK * kMostBytes);
  std::vector<float> out(kRows * n);
  double one_s = 0;
  double other_s = 0;
  for (const int64_t rows : {kBatchRows, kRows}) {
    const MatMulTask task{a.data(), w.data(), rows, kK, n, 0, 1, out.data(), false};
    double one_best = 1e9;
    double other_best = 1e9;
    for (int i = 0; i < 8; ++i) {
      one_best = std::min(one_best, SecondsOfProduct(*one, task));
      other_best = std::min(other_best, SecondsOfProduct(*other, task));
    }
    one_s += one_best;
    other_s += other_best;
  }
  return other_s < one_s ? other : one;
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
      static const KernelTable* const faster =
          FasterOf(Avx512Bf16Kernels(), Avx512Bf16FmaKernels());
      return faster;
    }
    case WeightFormat::kF16:
      break;
    case WeightFormat::kInt8:
      return HasAvx512Vnni() ? Avx512VnniKernels(weights) : nullptr;
    case WeightFormat::kInt4: {
      if (!HasAvx512Vnni()) return nullptr;
      static const KernelTable* const faster =
          FasterOf(Avx512VnniKernels(weights), Avx512VnniUnstagedInt4Kernels());
      return faster;
    }
  }
  return nullptr;
}

const KernelTable* FindAmx(WeightFormat weights) {
  if (!HasAmx()) return nullptr;
  switch (weights) {
    case WeightFormat::kF32:
      return Avx512F32Kernels();
    case WeightFormat::kBF16:
      return AmxBf16Kernels();
    case WeightFormat::kF16:
      break;
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      return AmxInt8Kernels(FindAvx512(weights));
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
  if (isa == "amx") return FindAmx(weights);
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
  if (HasAmx()) isas.push_back("amx");
#endif
  return isas;
}

const KernelTable& ChooseKernels(WeightFormat weights, const std::string& isa) {
  if (GenericKernels(weights) == nullptr) {
    throw DeviceError(std::string("CPUs have no kernels for ") + NameOf(weights) +
                      " weights: take bf16, or f32, which holds f16 exactly");
  }
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
  } else if (weights == WeightFormat::kInt4 && HasAvx512Vnni()) {
    tables.push_back(Avx512VnniKernels(weights));
    tables.push_back(Avx512VnniUnstagedInt4Kernels());
  } else if (const KernelTable* avx512 = FindAvx512(weights); avx512 != nullptr) {
    tables.push_back(avx512);
  }
  if (HasAmx() && weights != WeightFormat::kF32) tables.push_back(FindAmx(weights));
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
  if (HasAmx()) probes.insert(probes.end(), {AmxBf16Probes(), AmxInt8Probes()});
#endif
  return probes;
}

}  // namespace strata::kernels
