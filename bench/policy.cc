#include "bench/policy.h"

#include <fmt/format.h>

#include <array>
#include <random>
#include <string>
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

  double rate() const {
    return MedianOf(runs, [](const Measurement& run) { return run.tokens_per_second(); });
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

Row MakeRow(std::string name, const std::vector<Setting>& settings) {
  const Setting& off = settings.front();
  const Setting& automatic = settings.back();
  Row row = {.name = std::move(name), .value = automatic.rate(), .unit = "tokens/s"};
  AutoComparison comparison;
  comparison.off = off.rate();
  for (auto fixed = settings.begin() + 1; fixed != settings.end() - 1; ++fixed) {
    if (fixed->rate() <= comparison.best_fixed) continue;
    comparison.best_fixed = fixed->rate();
    comparison.best_name = fixed->name;
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
        settings.back().runs.clear();
        for (int i = 0; i < session.options.repeat; ++i) {
          for (Setting& setting : settings) RETURN_IF_ERROR(Run(session, requests, setting));
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
