#include "client/cli/stream_printer.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "client/cli/terminal.h"

namespace strata::client {
namespace {

struct Run {
  std::vector<uint32_t> ids;
  std::string text;
  bool drafted = false;
};

v1::GenerateResponse DeltaOf(const std::vector<Run>& runs, int sample = 0) {
  v1::GenerateResponse response;
  response.set_sample_index(sample);
  v1::Delta* delta = response.mutable_delta();
  for (const Run& run : runs) {
    for (const uint32_t id : run.ids) delta->add_token_ids(id);
    *delta->mutable_text() += run.text;
    v1::TokenRun* proto = delta->add_runs();
    proto->set_num_tokens(static_cast<uint32_t>(run.ids.size()));
    proto->set_text_bytes(static_cast<uint32_t>(run.text.size()));
    proto->set_drafted(run.drafted);
  }
  return response;
}

v1::GenerateResponse DraftOf(const std::vector<uint32_t>& ids, const std::string& text) {
  v1::GenerateResponse response;
  for (const uint32_t id : ids) response.mutable_draft()->add_token_ids(id);
  response.mutable_draft()->set_text(text);
  return response;
}

std::string Accepted(const std::string& text) { return Styled(text, Style::kAccepted, true); }
std::string Rejected(const std::string& text) { return Styled(text, Style::kRejected, true); }

std::string Print(const std::vector<v1::GenerateResponse>& responses, bool color,
                  int num_samples = 1) {
  std::ostringstream out;
  StreamPrinter printer(&out, color, num_samples);
  for (const v1::GenerateResponse& response : responses) printer.OnResponse(response);
  printer.Finish();
  return out.str();
}

TEST(StreamPrinter, WithoutColorItIsTheBareText) {
  const std::vector<v1::GenerateResponse> responses = {
      DraftOf({1, 2}, "ab"), DeltaOf({{{1}, "a", true}, {{3}, "c", false}}),
      DeltaOf({{{4}, "d", false}})};
  EXPECT_EQ(Print(responses, /*color=*/false), "acd");
}

TEST(StreamPrinter, ColoursWhatWasDrafted) {
  EXPECT_EQ(Print({DeltaOf({{{1, 2}, "ab", true}, {{3}, "c", false}})}, /*color=*/true),
            Accepted("ab") + "c");
}

TEST(StreamPrinter, StrikesOutRejectedDraftsWhereTheyStood) {
  EXPECT_EQ(Print({DraftOf({1, 2, 9}, "abx"), DeltaOf({{{1, 2}, "ab", true}, {{3}, "c", false}})},
                  /*color=*/true),
            Accepted("ab") + Rejected("x") + "c");
  EXPECT_EQ(Print({DraftOf({8, 9}, "xy"), DeltaOf({{{3}, "c", false}})}, /*color=*/true),
            Rejected("xy") + "c");
}

TEST(StreamPrinter, ARejectedLineBreakBreaksNoLine) {
  EXPECT_EQ(Print({DraftOf({9}, "\n"), DeltaOf({{{3}, "c", false}})}, /*color=*/true),
            Rejected("\u21b5") + "c");
}

// A slow reader gets several rounds in one delta: the draft belongs to the first.
TEST(StreamPrinter, ComparesADraftWithTheFirstRoundOfACoalescedDelta) {
  EXPECT_EQ(
      Print({DraftOf({1, 9}, "ax"),
             DeltaOf({{{1}, "a", true}, {{3}, "c", false}, {{4}, "d", true}, {{5}, "e", false}})},
            /*color=*/true),
      Accepted("a") + Rejected("x") + "c" + Accepted("d") + "e");
}

TEST(StreamPrinter, ShowsFurtherSamplesAtTheEnd) {
  EXPECT_EQ(Print({DeltaOf({{{1}, "a", false}}, 0), DeltaOf({{{2}, "b", false}}, 1),
                   DeltaOf({{{3}, "c", false}}, 0)},
                  /*color=*/false, /*num_samples=*/2),
            "ac\n--- sample 1 ---\nb");
}

}  // namespace
}  // namespace strata::client
