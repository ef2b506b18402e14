#include "client/cli/stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

namespace strata::client {

double TokensPerSecond(const v1::Finished& finished) {
  const double seconds = finished.timing().decode_ms() / 1000;
  const uint32_t tokens = finished.usage().generated_tokens();
  return tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : 0;
}

std::string ReasonName(v1::FinishReason reason) {
  constexpr std::string_view kPrefix = "FINISH_REASON_";
  std::string name = v1::FinishReason_Name(reason).substr(kPrefix.size());
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

std::string StatsLine(const v1::Finished& finished) {
  const v1::SpeculationStats& speculation = finished.speculation();
  const std::string drafts =
      speculation.drafted_tokens() == 0
          ? "nothing drafted"
          : fmt::format("{:.0f}% of {} drafts accepted", 100 * speculation.acceptance_rate(),
                        speculation.drafted_tokens());
  return fmt::format("{} tokens, {:.1f} tokens/s, {} rounds, {} ({})",
                     finished.usage().generated_tokens(), TokensPerSecond(finished),
                     speculation.rounds(), drafts, ReasonName(finished.reason()));
}

}  // namespace strata::client
