#include "client/cli/stream_printer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "client/cli/terminal.h"

namespace strata::client {
namespace {

// How many tokens of the draft the delta begins with, as accepted.
int NumAccepted(const v1::Draft& draft, const v1::Delta& delta) {
  const int drafted = delta.runs_size() > 0 && delta.runs(0).drafted()
                          ? static_cast<int>(delta.runs(0).num_tokens())
                          : 0;
  const int limit = std::min(drafted, draft.token_ids_size());
  int accepted = 0;
  while (accepted < limit && draft.token_ids(accepted) == delta.token_ids(accepted)) ++accepted;
  return accepted;
}

}  // namespace

StreamPrinter::StreamPrinter(std::ostream* out, bool color, int num_samples)
    : out_(*out), color_(color), num_samples_(num_samples) {}

void StreamPrinter::OnResponse(const v1::GenerateResponse& response) {
  const int index = static_cast<int>(response.sample_index());
  Sample& sample = samples_[index];
  if (response.has_draft()) {
    sample.draft = response.draft();
  } else if (response.has_finished()) {
    sample.finished = response.finished();
  } else if (response.has_delta()) {
    sample.text += response.delta().text();
    const std::string shown = Show(response.delta(), &sample);
    if (index == 0) {
      out_ << shown << std::flush;
    } else {
      sample.shown += shown;
    }
  }
}

void StreamPrinter::Finish() {
  for (int i = 1; i < num_samples_; ++i) {
    out_ << Styled(fmt::format("\n--- sample {} ---\n", i), Style::kFaint, color_)
         << samples_[i].shown;
  }
  out_ << std::flush;
}

std::string StreamPrinter::Show(const v1::Delta& delta, Sample* sample) const {
  if (!color_) return delta.text();
  const std::optional<v1::Draft> draft = std::exchange(sample->draft, std::nullopt);
  std::string rejected = draft ? RejectedText(*draft, delta) : "";
  std::string shown;
  std::string_view rest = delta.text();
  for (const v1::TokenRun& run : delta.runs()) {
    // The draft that failed stood where the model's own token now stands.
    if (!run.drafted()) shown += Styled(std::exchange(rejected, ""), Style::kRejected, color_);
    const std::string_view text = rest.substr(0, run.text_bytes());
    shown += Styled(text, run.drafted() ? Style::kAccepted : Style::kPlain, color_);
    rest.remove_prefix(text.size());
  }
  return shown.append(rest);
}

std::string StreamPrinter::RejectedText(const v1::Draft& draft, const v1::Delta& delta) {
  const int accepted = NumAccepted(draft, delta);
  if (accepted == draft.token_ids_size()) return "";
  const size_t accepted_bytes = accepted == 0 ? 0 : delta.runs(0).text_bytes();
  if (accepted_bytes >= draft.text().size()) return "";
  std::string text;
  for (const char c : draft.text().substr(accepted_bytes)) {
    if (c == '\n') {
      text += "\u21b5";  // as a sign: a rejected line break should break no line
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace strata::client
