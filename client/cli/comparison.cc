#include "client/cli/comparison.h"

#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "client/cli/stats.h"

namespace strata::client {
namespace {

double TokensPerRound(const v1::Finished& finished) {
  const uint32_t rounds = finished.speculation().rounds();
  return rounds == 0 ? 0 : static_cast<double>(finished.usage().generated_tokens()) / rounds;
}

std::string AcceptanceText(const v1::Finished& finished) {
  const v1::SpeculationStats& stats = finished.speculation();
  if (stats.drafted_tokens() == 0) return "-";
  return fmt::format("{:.1f}% ({} of {})", 100 * stats.acceptance_rate(), stats.accepted_tokens(),
                     stats.drafted_tokens());
}

nlohmann::json RunJson(const v1::Finished& finished) {
  return {{"tokens", finished.usage().generated_tokens()},
          {"tokens_per_second", TokensPerSecond(finished)},
          {"decode_ms", finished.timing().decode_ms()},
          {"rounds", finished.speculation().rounds()},
          {"drafted_tokens", finished.speculation().drafted_tokens()},
          {"accepted_tokens", finished.speculation().accepted_tokens()},
          {"acceptance_rate", finished.speculation().acceptance_rate()},
          {"finish_reason", ReasonName(finished.reason())}};
}

}  // namespace

double Comparison::speed_up() const {
  const double base = TokensPerSecond(autoregressive.finished);
  return base > 0 ? TokensPerSecond(speculative.finished) / base : 0;
}

std::string Comparison::ToTable() const {
  std::string table = fmt::format("{:<18}{:>16}{:>20}\n", "", "autoregressive", "self-speculative");
  const auto row = [&](const char* name,
                       const std::function<std::string(const v1::Finished&)>& cell) {
    table += fmt::format("{:<18}{:>16}{:>20}\n", name, cell(autoregressive.finished),
                         cell(speculative.finished));
  };
  row("tokens", [](const auto& f) { return fmt::format("{}", f.usage().generated_tokens()); });
  row("decode time",
      [](const auto& f) { return fmt::format("{:.2f} s", f.timing().decode_ms() / 1000); });
  row("tokens/s", [](const auto& f) { return fmt::format("{:.1f}", TokensPerSecond(f)); });
  row("rounds", [](const auto& f) { return fmt::format("{}", f.speculation().rounds()); });
  row("tokens per round", [](const auto& f) { return fmt::format("{:.2f}", TokensPerRound(f)); });
  row("acceptance rate", AcceptanceText);
  table +=
      fmt::format("{:<18}{:>16}{:>20}\n", "speed-up", "1.00", fmt::format("{:.2f}", speed_up()));
  table += fmt::format("outputs identical: {}\n", same_text() ? "yes" : "no");
  return table;
}

std::string Comparison::ToJson() const {
  return nlohmann::json{{"autoregressive", RunJson(autoregressive.finished)},
                        {"self_speculative", RunJson(speculative.finished)},
                        {"speed_up", speed_up()},
                        {"outputs_identical", same_text()}}
      .dump();
}

}  // namespace strata::client
