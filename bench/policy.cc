#include "bench/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bench/speculative.h"
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
// Off and auto are to be told apart by a hundredth or two, and short runs are noisy: in each
// repetition both run for so long, but not more often than that.
constexpr double kComparedSeconds = 0.6;
constexpr int kMostRunsOfCompared = 6;
constexpr int kResamplings = 500;

GenerateRequest MakeRequest(const Session& session, const std::string& work, bool sampled,
                            int variant) {
  GenerateRequest request;
  const size_t which = static_cast<size_t>(variant) % kCode.size();
  if (work == "random") {
    const int vocab_size = session.engine.checkpoint().config().vocab_size;
    std::mt19937 random(static_cast<unsigned>(variant));
    std::vector<TokenId> ids(kRandomTokens);
    for (TokenId& id : ids) id = std::uniform_int_distribution(3, vocab_size - 1)(random);
    request.prompt = std::move(ids);
  } else {
    request.prompt = fmt::format("{} {}\n{}", work == "code" ? "# file" : "Page", variant,
                                 work == "code" ? kCode[which] : kProse[which]);
  }
  request.sampling.temperature = sampled ? kTemperature : 0;
  if (sampled) request.sampling.seed = static_cast<uint64_t>(variant);
  request.stopping.max_new_tokens = session.options.decode_tokens;
  request.stopping.ignore_eos = true;
  return request;
}

struct Setting {
  std::string name;
  Speculation speculation;
  std::vector<Measurement> runs;

  double rate() const { return RateOf(runs); }
  // Of every other run, beginning with `first`.
  double half_rate(size_t first) const {
    std::vector<Measurement> half;
    for (size_t i = first; i < runs.size(); i += 2) half.push_back(runs[i]);
    return RateOf(half);
  }
  static double RateOf(const std::vector<Measurement>& runs) {
    return MedianOf(runs,
                    [](const Measurement& run) { return run.concurrent_tokens_per_second(); });
  }
};

// Off, the grid, auto.
std::vector<Setting> MakeSettings(const Session& session) {
  std::vector<Setting> settings(1);
  settings.front().name = "off";
  std::vector<int> exits = session.options.exit_layers;
  if (exits.empty()) exits = DefaultExitLayers(session.engine.checkpoint().config().num_layers);
  for (const int exit_layer : exits) {
    for (const int drafts : session.options.draft_tokens) {
      Setting& fixed = settings.emplace_back();
      fixed.name = fmt::format("e{}_k{}", exit_layer, drafts);
      fixed.speculation = {Speculation::Mode::kFixed, exit_layer, drafts, {}};
    }
  }
  Setting& automatic = settings.emplace_back();
  automatic.name = "auto";
  automatic.speculation.mode = Speculation::Mode::kAuto;
  return settings;
}

absl::Status Run(const Session& session, std::vector<GenerateRequest> requests, Setting& setting) {
  for (GenerateRequest& request : requests) request.speculation = setting.speculation;
  ASSIGN_OR_RETURN(Measurement run, Measure(session.engine, session.rounds, requests));
  setting.runs.push_back(std::move(run));
  return absl::OkStatus();
}

// The best of many noisy rates is one that was lucky. So it is picked by one half of the runs and
// measured by the other, each way round.
double BestRate(std::span<const Setting> fixed) {
  if (fixed.empty()) return 0;
  const auto rate = [](const Setting& setting) { return setting.rate(); };
  if (fixed.front().runs.size() < 2) return std::ranges::max_element(fixed, {}, rate)->rate();
  double sum = 0;
  for (const size_t half : {size_t{0}, size_t{1}}) {
    const auto half_rate = [half](const Setting& setting) { return setting.half_rate(half); };
    sum += std::ranges::max_element(fixed, {}, half_rate)->half_rate(1 - half);
  }
  return sum / 2;
}

// The median rate of as many runs as there are, drawn from them with repetition.
double ResampledRate(const std::vector<Measurement>& runs, std::mt19937& random) {
  std::uniform_int_distribution<size_t> any(0, runs.size() - 1);
  std::vector<size_t> drawn(runs.size());
  for (size_t& which : drawn) which = any(random);
  return MedianOf(drawn, [&](size_t which) { return runs[which].concurrent_tokens_per_second(); });
}

// Where the ratio of the medians lies but for 5%, by resampling (the bootstrap: Efron, 1979).
std::pair<double, double> RatioInterval(const Setting& setting, const Setting& beside) {
  std::mt19937 random(1);
  std::vector<double> ratios(kResamplings);
  for (double& ratio : ratios) {
    ratio = ResampledRate(setting.runs, random) / ResampledRate(beside.runs, random);
  }
  std::ranges::sort(ratios);
  return {ratios[kResamplings / 40], ratios[kResamplings - 1 - kResamplings / 40]};
}

Row MakeRow(std::string name, const std::vector<Setting>& settings) {
  const Setting& off = settings.front();
  const Setting& automatic = settings.back();
  Row row = {.name = std::move(name), .value = automatic.rate(), .unit = "tokens/s"};
  AutoComparison comparison;
  comparison.off = off.rate();
  std::tie(comparison.least_of_off, comparison.most_of_off) = RatioInterval(automatic, off);
  const std::span<const Setting> fixed = std::span(settings).subspan(1, settings.size() - 2);
  comparison.best_fixed = BestRate(fixed);
  double best = 0;
  for (const Setting& setting : fixed) {
    if (setting.rate() <= best) continue;
    best = setting.rate();
    comparison.best_name = setting.name;
  }
  const SpeculationStats& stats = automatic.runs.back().speculation;
  if (stats.drafted_tokens > 0) {
    comparison.acceptance_rate = static_cast<double>(stats.accepted_tokens) / stats.drafted_tokens;
  }
  comparison.drafts_per_round = static_cast<double>(stats.drafted_tokens) / stats.rounds;
  row.comparison = comparison;
  return row;
}

}  // namespace

absl::Status MeasurePolicy(const Session& session) {
  for (const char* work : {"code", "prose", "random"}) {
    for (const bool sampled : {false, true}) {
      for (const int num_sequences : session.options.policy_batch_sizes) {
        std::vector<GenerateRequest> requests;
        for (int i = 0; i < num_sequences; ++i) {
          requests.push_back(MakeRequest(session, work, sampled, i));
        }
        std::vector<Setting> settings = MakeSettings(session);
        // What is measured is what it does once it knows the traffic.
        RETURN_IF_ERROR(Run(session, requests, settings.back()));
        const int runs_of_compared = std::clamp(
            static_cast<int>(kComparedSeconds / settings.back().runs.front().decode_seconds), 1,
            kMostRunsOfCompared);
        settings.back().runs.clear();
        // In another order each time, so that none always follows a slow one.
        std::vector<size_t> order(settings.size());
        std::iota(order.begin(), order.end(), size_t{0});
        for (int i = 1; i < runs_of_compared; ++i) {
          order.push_back(0);
          order.push_back(settings.size() - 1);
        }
        std::mt19937 random(1);
        for (int i = 0; i < session.options.repeat; ++i) {
          std::shuffle(order.begin(), order.end(), random);
          for (const size_t which : order) RETURN_IF_ERROR(Run(session, requests, settings[which]));
        }
        session.report.rows.push_back(MakeRow(
            fmt::format("policy_{}_{}_{}", work, sampled ? "sampled" : "greedy", num_sequences),
            settings));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace strata::bench
