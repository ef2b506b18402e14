#include "bench/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bench/lane.h"
#include "bench/opened_model.h"
#include "bench/speculative.h"
#include "engine/policy/cost_profiler.h"
#include "engine/status_macros.h"

namespace strata::bench {
namespace {

constexpr std::array<const char*, 4> kCode = {
    "import os\nimport sys\n\n\ndef find_files(root, suffix):\n",
    "class Stack:\n    def __init__(self):\n        self._items = []\n\n    def push(self, "
    "item):\n",
    "def bucket_sort(values):\n    \"\"\"Return the sorted values.\"\"\"\n",
    "    def test_split(self):\n        self.assertEqual("};
constexpr std::array<const char*, 4> kProse = {
    "The history of the city begins with a small harbour, where ",
    "In this chapter we describe how the parts of the system work together. First, ",
    "She opened the letter slowly, and when she had read it twice she said: ",
    "Light travels faster than sound, which is the reason why "};
constexpr int kRandomTokens = 24;
constexpr float kTemperature = 0.8f;
constexpr int kMaxPromptTokens = 128;
constexpr int kResamplings = 500;

// Sequences that are generated at once.
struct Workload {
  std::string name;
  std::vector<GenerateRequest> requests;
};

std::vector<TokenId> MakePrompt(const OpenedModel& opened, const std::string& work, int variant) {
  const size_t which = static_cast<size_t>(variant) % kCode.size();
  if (work == "random") {
    const int vocab_size = opened.checkpoint->config().vocab_size;
    std::mt19937 random(static_cast<unsigned>(variant));
    std::vector<TokenId> ids(kRandomTokens);
    for (TokenId& id : ids) id = std::uniform_int_distribution(3, vocab_size - 1)(random);
    return ids;
  }
  const bool is_code = work == "code";
  return opened.tokenizer->Encode(fmt::format("{} {}\n{}", is_code ? "# file" : "Page", variant,
                                              is_code ? kCode[which] : kProse[which]),
                                  /*add_special_tokens=*/true);
}

Workload MakeWorkload(const Options& options, const OpenedModel& opened, const std::string& work,
                      bool sampled, int num_sequences) {
  Workload result;
  result.name = fmt::format("{}_{}_{}", work, sampled ? "sampled" : "greedy", num_sequences);
  for (int i = 0; i < num_sequences; ++i) {
    GenerateRequest& request = result.requests.emplace_back();
    request.prompt = MakePrompt(opened, work, i);
    request.sampling.temperature = sampled ? kTemperature : 0;
    if (sampled) request.sampling.seed = static_cast<uint64_t>(i);
    request.stopping.max_new_tokens = options.decode_tokens;
    request.stopping.ignore_eos = true;
  }
  return result;
}

struct Setting {
  std::string name;
  Speculation speculation;
  std::unique_ptr<Lane> lane = nullptr;
  std::vector<Tally> repetitions = {};

  double rate() const { return Sum().rate(); }
  // Of every other repetition, beginning with `first`.
  double half_rate(size_t first) const { return Sum(first, 2).rate(); }
  Tally Sum(size_t first = 0, size_t stride = 1) const {
    Tally sum;
    for (size_t i = first; i < repetitions.size(); i += stride) sum.Add(repetitions[i]);
    return sum;
  }
};

// Off, the grid, auto.
std::vector<Setting> MakeSettings(const Options& options, int num_layers) {
  std::vector<Setting> settings;
  settings.push_back({"off", {}});
  std::vector<int> exits = options.exit_layers;
  if (exits.empty()) exits = DefaultExitLayers(num_layers);
  for (const int exit_layer : exits) {
    for (const int drafts : options.draft_tokens) {
      settings.push_back({fmt::format("e{}_k{}", exit_layer, drafts),
                          {Speculation::Mode::kFixed, exit_layer, drafts, {}}});
    }
  }
  settings.push_back({"auto", {Speculation::Mode::kAuto, 0, 0, {}}});
  return settings;
}

// As long as it takes to generate everything once without drafts, and as long for each.
absl::Status Repeat(std::vector<Setting>& settings) {
  const Lane& off = *settings.front().lane;
  const int before = off.num_generations();
  while (off.num_generations() == before) {
    const auto behind = std::ranges::min_element(
        settings, {}, [](const Setting& setting) { return setting.lane->tally().seconds; });
    RETURN_IF_ERROR(behind->lane->Step());
  }
  for (Setting& setting : settings) setting.repetitions.push_back(setting.lane->TakeTally());
  return absl::OkStatus();
}

absl::Status Compare(const Workload& workload, int num_repetitions,
                     std::vector<Setting>& settings) {
  for (Setting& setting : settings) {
    std::vector<GenerateRequest> requests = workload.requests;
    for (GenerateRequest& request : requests) request.speculation = setting.speculation;
    RETURN_IF_ERROR(setting.lane->Begin(std::move(requests)));
  }
  // What is measured is what auto does once it knows the traffic.
  RETURN_IF_ERROR(Repeat(settings));
  for (Setting& setting : settings) setting.repetitions.clear();
  for (int i = 0; i < num_repetitions; ++i) RETURN_IF_ERROR(Repeat(settings));
  return absl::OkStatus();
}

// The best of many noisy rates is one that was lucky. So it is picked by one half of the
// repetitions and measured by the other, each way round.
double BestRate(std::span<const Setting> fixed) {
  if (fixed.empty()) return 0;
  if (fixed.front().repetitions.size() < 2) {
    return std::ranges::max_element(fixed, {}, &Setting::rate)->rate();
  }
  double sum = 0;
  for (const size_t half : {size_t{0}, size_t{1}}) {
    const auto half_rate = [half](const Setting& setting) { return setting.half_rate(half); };
    sum += std::ranges::max_element(fixed, {}, half_rate)->half_rate(1 - half);
  }
  return sum / 2;
}

// Where the ratio of the rates lies but for 5%, by repetitions drawn with repetition (the
// bootstrap: Efron, 1979).
std::pair<double, double> RatioInterval(const Setting& setting, const Setting& beside) {
  std::mt19937 random(1);
  std::uniform_int_distribution<size_t> any(0, setting.repetitions.size() - 1);
  std::vector<double> ratios(kResamplings);
  for (double& ratio : ratios) {
    Tally sum, sum_beside;
    for (size_t i = 0; i < setting.repetitions.size(); ++i) {
      const size_t drawn = any(random);
      sum.Add(setting.repetitions[drawn]);
      sum_beside.Add(beside.repetitions[drawn]);
    }
    ratio = sum.rate() / sum_beside.rate();
  }
  std::ranges::sort(ratios);
  return {ratios[kResamplings / 40], ratios[kResamplings - 1 - kResamplings / 40]};
}

Row MakeRow(const std::string& workload, const std::vector<Setting>& settings) {
  const Setting& off = settings.front();
  const Setting& automatic = settings.back();
  Row row = {.name = "policy_" + workload, .value = automatic.rate(), .unit = "tokens/s"};
  AutoComparison comparison;
  comparison.off = off.rate();
  std::tie(comparison.least_of_off, comparison.most_of_off) = RatioInterval(automatic, off);
  const std::span<const Setting> fixed = std::span(settings).subspan(1, settings.size() - 2);
  comparison.best_fixed = BestRate(fixed);
  if (!fixed.empty()) {
    comparison.best_name = std::ranges::max_element(fixed, {}, &Setting::rate)->name;
  }
  const Tally drafts = automatic.Sum();
  if (drafts.drafted > 0) {
    comparison.acceptance_rate = static_cast<double>(drafts.accepted) / drafts.drafted;
  }
  comparison.drafts_per_round = static_cast<double>(drafts.drafted) / drafts.sequence_rounds;
  row.comparison = comparison;
  return row;
}

// Of a model that all lanes share.
ModelLimits LimitsFor(const Options& options, const ModelConfig& config) {
  const int num_lanes = static_cast<int>(MakeSettings(options, config.num_layers).size());
  const int most_sequences = std::ranges::max(options.policy_batch_sizes);
  ModelLimits limits;
  limits.max_context =
      std::min(config.max_position_embeddings, kMaxPromptTokens + options.decode_tokens);
  limits.max_exit_rows = limits.max_rows + DraftControllerConfig().most_probes;
  limits.num_kv_blocks =
      num_lanes * most_sequences * (limits.max_context / kernels::kKvBlockTokens + 1);
  return limits;
}

}  // namespace

absl::Status MeasurePolicy(const Options& options, Report& report) {
  ASSIGN_OR_RETURN(const OpenedModel opened, OpenModel(options, [&](const ModelConfig& config) {
                     return LimitsFor(options, config);
                   }));
  report.model = opened.checkpoint->config().name;
  report.backend = opened.backend;
  const int num_layers = opened.checkpoint->config().num_layers;
  const SpeculationPolicy policy(num_layers, {});
  std::vector<Setting> settings = MakeSettings(options, num_layers);
  try {
    const CostProfile costs =
        ProfileCosts(*opened.model, SteadyClock(), EngineOptions().cost_profile_time);
    for (size_t i = 0; i < settings.size(); ++i) {
      settings[i].lane = std::make_unique<Lane>(opened.model.get(), static_cast<int>(i),
                                                static_cast<int>(settings.size()),
                                                opened.tokenizer.get(), &policy, costs);
    }
    for (const char* work : {"code", "prose", "random"}) {
      for (const bool sampled : {false, true}) {
        for (const int num_sequences : options.policy_batch_sizes) {
          const Workload workload = MakeWorkload(options, opened, work, sampled, num_sequences);
          RETURN_IF_ERROR(Compare(workload, options.repeat, settings));
          report.rows.push_back(MakeRow(workload.name, settings));
        }
      }
    }
  } catch (const kernels::DeviceError& error) {
    return absl::InternalError(error.what());
  }
  return absl::OkStatus();
}

}  // namespace strata::bench
