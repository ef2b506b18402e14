#include "engine/planning/hardware.h"

#include <fmt/format.h>

namespace strata {
namespace {

constexpr double kTera = 1e12;
constexpr double kGiga = 1e9;
constexpr double kMicro = 1e-6;

// NVIDIA A100 80GB SXM data sheet: 312 TFLOP/s bf16 dense, 2,039 GB/s, NVLink 600 GB/s.
// Efficiencies: large cuBLAS products reach 0.7 to 0.8 of the peak; gpt-fast (README, Llama-2-7B on
// one A100) reads 1.40 of 2.04 TB/s over a whole token, 1.7 TB/s in its products.
// A layer is about ten kernels; in a CUDA graph a dependent kernel starts 1 to 2 us after the last.
Hardware A100() {
  Hardware a100;
  a100.memory_bytes = 80 * kGiga;
  a100.read_bytes_s = 2.039 * kTera;
  a100.flop_s = 312 * kTera;
  a100.int8_flop_s = 312 * kTera;  // weights are widened to bf16
  a100.read_efficiency = 0.83;
  a100.flop_efficiency = 0.7;
  a100.layer_overhead_s = 15 * kMicro;
  a100.forward_overhead_s = 30 * kMicro;
  a100.sample_row_s = 1 * kMicro;
  // One-shot and two-shot kernels over NVSwitch: about 10 us for the messages of decoding (vLLM
  // pull request 2192). nccl-tests on 8 A100: about 230 GB/s bus bandwidth of large messages.
  a100.all_reduce_latency_s = 12 * kMicro;
  a100.all_reduce_bytes_s = 230 * kGiga;
  return a100;
}

// NVIDIA H100 SXM data sheet: 989 TFLOP/s bf16 dense, 3.35 TB/s, NVLink 900 GB/s; nccl-tests on 8:
// about 450 GB/s bus bandwidth with NVLink SHARP off 370.
Hardware H100() {
  Hardware h100 = A100();
  h100.read_bytes_s = 3.35 * kTera;
  h100.flop_s = 989 * kTera;
  h100.int8_flop_s = 989 * kTera;
  h100.flop_efficiency = 0.65;
  h100.layer_overhead_s = 12 * kMicro;
  h100.all_reduce_latency_s = 9 * kMicro;
  h100.all_reduce_bytes_s = 370 * kGiga;
  return h100;
}

Hardware Named(Hardware hardware, std::string name, std::string description, int num_devices) {
  hardware.name = std::move(name);
  hardware.description = std::move(description);
  hardware.num_devices = num_devices;
  return hardware;
}

// NVIDIA H200 SXM data sheet: as the H100, but 141 GB at 4.8 TB/s.
Hardware H200() {
  Hardware h200 = H100();
  h200.memory_bytes = 141 * kGiga;
  h200.read_bytes_s = 4.8 * kTera;
  return h200;
}

// Two cores of a Xeon with AVX-512 BF16 and VNNI, as docs/PERFORMANCE.md measured them, and the
// parts of these limits that strata-bench reached there (decode_1 0.86, prefill_512 0.75).
Hardware Cpu() {
  Hardware cpu;
  cpu.is_host = true;
  cpu.memory_bytes = 24 * kGiga;
  cpu.read_bytes_s = 33 * kGiga;
  cpu.flop_s = 360 * kGiga;
  cpu.int8_flop_s = 1500 * kGiga;
  cpu.read_efficiency = 0.88;
  cpu.flop_efficiency = 0.75;
  cpu.layer_overhead_s = 20 * kMicro;
  cpu.forward_overhead_s = 20 * kMicro;
  cpu.sample_row_s = 60 * kMicro;
  return cpu;
}

// Hugging Face transformers in eager mode: the interpreter issues each kernel, 0.8 to 0.9 ms a
// layer whatever its size (LayerSkip blog: 25.8 ms a token for the 32 layers of 7B, 33 for the 40
// of 13B, 28.9 for the 32 of 8B, on one A100). What does not fit one device runs layer after layer
// on several, one at a time: the bandwidth is one device's.
Hardware TransformersA100() {
  Hardware eager = A100();
  eager.memory_bytes *= 8;
  eager.layer_issue_s = 830 * kMicro;
  eager.layer_overhead_s = 200 * kMicro;     // forty small kernels and their gaps
  eager.forward_overhead_s = 1000 * kMicro;  // generate() itself, per call of a model
  eager.sample_row_s = 500 * kMicro;         // logits processors and multinomial, kernel by kernel
  return eager;
}

std::vector<Hardware> MakeKnownHardware() {
  return {
      Named(Cpu(), "cpu", "2 cores of a Xeon with AVX-512 BF16, as measured", 1),
      Named(A100(), "1xA100", "NVIDIA A100 80GB SXM", 1),
      Named(A100(), "8xA100", "8 NVIDIA A100 80GB SXM, NVSwitch", 8),
      Named(H100(), "1xH100", "NVIDIA H100 80GB SXM", 1),
      Named(H100(), "8xH100", "8 NVIDIA H100 80GB SXM, NVSwitch", 8),
      Named(H200(), "1xH200", "NVIDIA H200 141GB SXM", 1),
      Named(TransformersA100(), "transformers-A100",
            "Hugging Face transformers, eager, layers spread over A100s one after the other", 1),
  };
}

}  // namespace

const std::vector<Hardware>& KnownHardware() {
  static const std::vector<Hardware> known = MakeKnownHardware();
  return known;
}

absl::StatusOr<Hardware> FindHardware(std::string_view name) {
  std::string names;
  for (const Hardware& hardware : KnownHardware()) {
    if (hardware.name == name) return hardware;
    names += (names.empty() ? "" : ", ") + hardware.name;
  }
  return absl::NotFoundError(fmt::format("no hardware named \"{}\"; there are: {}", name, names));
}

}  // namespace strata
