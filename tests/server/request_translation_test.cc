#include "server/request_translation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace strata::server {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const RequestLimits kLimits = {
    .vocab_size = 100, .num_layers = 8, .max_context = 64, .max_prompt_bytes = 1000};

RequestDefaults Defaults() {
  RequestDefaults defaults;
  defaults.sampling.temperature = 0.6f;
  defaults.sampling.top_p = 0.9f;
  defaults.max_new_tokens = 20;
  defaults.exit_layer = 3;
  defaults.num_draft_tokens = 5;
  return defaults;
}

v1::GenerateRequest Minimal() {
  v1::GenerateRequest request;
  request.set_text("hello");
  return request;
}

using Change = std::function<void(v1::GenerateRequest*)>;

absl::StatusOr<GenerateRequest> Translate(const Change& change) {
  v1::GenerateRequest request = Minimal();
  change(&request);
  return TranslateGenerateRequest(request, Defaults(), kLimits);
}

struct BadCase {
  std::string message;  // begins the error's: the field's path and what is wrong
  Change change;
};

class BadRequest : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadRequest, NamesTheField) {
  const auto result = Translate(GetParam().change);
  ASSERT_FALSE(result.ok());
  EXPECT_TRUE(absl::IsInvalidArgument(result.status()));
  EXPECT_THAT(std::string(result.status().message()), StartsWith(GetParam().message));
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// NOLINTBEGIN: one line per case reads best.
INSTANTIATE_TEST_SUITE_P(
    Prompt, BadRequest,
    ::testing::ValuesIn(std::vector<BadCase>{
        {"prompt: required", [](auto* r) { r->clear_prompt(); }},
        {"text: must not be empty", [](auto* r) { r->set_text(""); }},
        {"text: 1001 bytes cannot fit", [](auto* r) { r->set_text(std::string(1001, 'x')); }},
        {"text: is not valid UTF-8", [](auto* r) { r->set_text("\xff"); }},
        {"token_ids.ids: must not be empty", [](auto* r) { r->mutable_token_ids(); }},
        {"token_ids.ids[1]: no token id 100",
         [](auto* r) {
           r->mutable_token_ids()->add_ids(99);
           r->mutable_token_ids()->add_ids(100);
         }},
        {"token_ids.ids[0]: no token id 4294967295",
         [](auto* r) { r->mutable_token_ids()->add_ids(0xffffffffu); }},
        {"token_ids.ids: 65 tokens do not fit the context of 64",
         [](auto* r) {
           for (int i = 0; i < 65; ++i) r->mutable_token_ids()->add_ids(1);
         }},
        {"request_id: 129 characters", [](auto* r) { r->set_request_id(std::string(129, 'a')); }},
        {"request_id: must be printable", [](auto* r) { r->set_request_id("a\nb"); }},
        {"request_id: must be printable", [](auto* r) { r->set_request_id("\u00e9"); }},
    }));

INSTANTIATE_TEST_SUITE_P(
    Sampling, BadRequest,
    ::testing::ValuesIn(std::vector<BadCase>{
        {"sampling.temperature: -1", [](auto* r) { r->mutable_sampling()->set_temperature(-1); }},
        {"sampling.temperature: 0.001",
         [](auto* r) { r->mutable_sampling()->set_temperature(0.001f); }},
        {"sampling.temperature: 101", [](auto* r) { r->mutable_sampling()->set_temperature(101); }},
        {"sampling.temperature: nan",
         [](auto* r) { r->mutable_sampling()->set_temperature(kNaN); }},
        {"sampling.temperature: inf",
         [](auto* r) { r->mutable_sampling()->set_temperature(kInf); }},
        {"sampling.top_p: 2 is out of range (0, 1]",
         [](auto* r) { r->mutable_sampling()->set_top_p(2); }},
        {"sampling.top_p: 0 is", [](auto* r) { r->mutable_sampling()->set_top_p(0); }},
        {"sampling.top_p: nan", [](auto* r) { r->mutable_sampling()->set_top_p(kNaN); }},
        {"sampling.min_p: -0.5", [](auto* r) { r->mutable_sampling()->set_min_p(-0.5f); }},
        {"sampling.min_p: 1.5", [](auto* r) { r->mutable_sampling()->set_min_p(1.5f); }},
        {"sampling.min_p: nan", [](auto* r) { r->mutable_sampling()->set_min_p(kNaN); }},
        {"sampling.repetition_penalty: 0 is",
         [](auto* r) { r->mutable_sampling()->set_repetition_penalty(0); }},
        {"sampling.repetition_penalty: 101",
         [](auto* r) { r->mutable_sampling()->set_repetition_penalty(101); }},
        {"sampling.repetition_penalty: nan",
         [](auto* r) { r->mutable_sampling()->set_repetition_penalty(kNaN); }},
        {"sampling.presence_penalty: 2.5",
         [](auto* r) { r->mutable_sampling()->set_presence_penalty(2.5f); }},
        {"sampling.presence_penalty: nan",
         [](auto* r) { r->mutable_sampling()->set_presence_penalty(kNaN); }},
        {"sampling.frequency_penalty: -2.5",
         [](auto* r) { r->mutable_sampling()->set_frequency_penalty(-2.5f); }},
        {"sampling.frequency_penalty: inf",
         [](auto* r) { r->mutable_sampling()->set_frequency_penalty(kInf); }},
        {"sampling.logit_bias[100]: no such token id",
         [](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[100] = 1; }},
        {"sampling.logit_bias[7]: nan",
         [](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[7] = kNaN; }},
        {"sampling.logit_bias[7]: -inf",
         [](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[7] = -kInf; }},
        {"sampling.logit_bias[7]: 1001 is out of range [-1000, 1000]",
         [](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[7] = 1001; }},
        {"sampling.logit_bias: 1025 entries",
         [](auto* r) {
           for (int i = 0; i < 1025; ++i) (*r->mutable_sampling()->mutable_logit_bias())[i] = 1;
         }},
        {"sampling.num_samples: 0", [](auto* r) { r->mutable_sampling()->set_num_samples(0); }},
        {"sampling.num_samples: 17", [](auto* r) { r->mutable_sampling()->set_num_samples(17); }},
    }));

INSTANTIATE_TEST_SUITE_P(
    Stopping, BadRequest,
    ::testing::ValuesIn(std::vector<BadCase>{
        {"stopping.max_new_tokens: 0",
         [](auto* r) { r->mutable_stopping()->set_max_new_tokens(0); }},
        {"stopping.stop_sequences: 10000 entries",
         [](auto* r) {
           for (int i = 0; i < 10000; ++i) r->mutable_stopping()->add_stop_sequences("x");
         }},
        {"stopping.stop_sequences[0]: 0 bytes",
         [](auto* r) { r->mutable_stopping()->add_stop_sequences(""); }},
        {"stopping.stop_sequences[0]: 257 bytes",
         [](auto* r) { r->mutable_stopping()->add_stop_sequences(std::string(257, 'x')); }},
        {"stopping.stop_sequences[0]: is not valid UTF-8",
         [](auto* r) { r->mutable_stopping()->add_stop_sequences("\xc3"); }},
        {"stopping.stop_sequences[1]: repeats",
         [](auto* r) {
           r->mutable_stopping()->add_stop_sequences("x");
           r->mutable_stopping()->add_stop_sequences("x");
         }},
        {"stopping.stop_token_ids: 65 entries",
         [](auto* r) {
           for (int i = 0; i < 65; ++i) r->mutable_stopping()->add_stop_token_ids(i);
         }},
        {"stopping.stop_token_ids[0]: no token id 100",
         [](auto* r) { r->mutable_stopping()->add_stop_token_ids(100); }},
        {"stopping.stop_token_ids[1]: repeats",
         [](auto* r) {
           r->mutable_stopping()->add_stop_token_ids(1);
           r->mutable_stopping()->add_stop_token_ids(1);
         }},
        {"stopping.time_limit_ms: 0", [](auto* r) { r->mutable_stopping()->set_time_limit_ms(0); }},
    }));

INSTANTIATE_TEST_SUITE_P(
    SpeculationAndOutput, BadRequest,
    ::testing::ValuesIn(std::vector<BadCase>{
        {"speculation.fixed.exit_layer: 0 is out of range [1, 7]",
         [](auto* r) { r->mutable_speculation()->mutable_fixed()->set_exit_layer(0); }},
        {"speculation.fixed.exit_layer: 8",
         [](auto* r) { r->mutable_speculation()->mutable_fixed()->set_exit_layer(8); }},
        {"speculation.fixed.num_draft_tokens: 33",
         [](auto* r) { r->mutable_speculation()->mutable_fixed()->set_num_draft_tokens(33); }},
        {"speculation.auto.max_draft_tokens: 0",
         [](auto* r) { r->mutable_speculation()->mutable_auto_()->set_max_draft_tokens(0); }},
        {"speculation.auto.max_draft_tokens: 33",
         [](auto* r) { r->mutable_speculation()->mutable_auto_()->set_max_draft_tokens(33); }},
        {"speculation.auto.exit_layers[0]: 8",
         [](auto* r) { r->mutable_speculation()->mutable_auto_()->add_exit_layers(8); }},
        {"speculation.auto.exit_layers[1]: repeats",
         [](auto* r) {
           r->mutable_speculation()->mutable_auto_()->add_exit_layers(2);
           r->mutable_speculation()->mutable_auto_()->add_exit_layers(2);
         }},
        {"output.logprobs: 21", [](auto* r) { r->mutable_output()->set_logprobs(21); }},
    }));
// NOLINTEND

TEST(RequestTranslation, AbsentFieldsMeanTheDefaults) {
  const auto request = Translate([](auto*) {});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(std::get<std::string>(request->prompt), "hello");
  EXPECT_EQ(request->sampling.temperature, 0.6f);
  EXPECT_EQ(request->sampling.top_p, 0.9f);
  EXPECT_EQ(request->sampling.top_k, 0);
  EXPECT_FALSE(request->sampling.seed.has_value());
  EXPECT_EQ(request->sampling.num_samples, 1);
  EXPECT_EQ(request->stopping.max_new_tokens, 20);
  EXPECT_FALSE(request->stopping.time_limit.has_value());
  EXPECT_EQ(request->speculation.mode, Speculation::Mode::kAuto);
  EXPECT_FALSE(request->output.logprobs.has_value());
}

TEST(RequestTranslation, ZeroMeansZero) {
  const auto request = Translate([](auto* r) {
    r->mutable_sampling()->set_temperature(0);
    r->mutable_sampling()->set_top_k(0);
    r->mutable_sampling()->set_seed(0);
    r->mutable_speculation()->mutable_fixed()->set_num_draft_tokens(0);
    r->mutable_output()->set_logprobs(0);
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->sampling.temperature, 0);
  EXPECT_EQ(request->sampling.seed, 0u);
  EXPECT_EQ(request->speculation.num_draft_tokens, 0);
  EXPECT_EQ(request->speculation.exit_layer, 3);
  EXPECT_EQ(request->output.logprobs, 0);
}

TEST(RequestTranslation, CarriesEverySamplingField) {
  const auto request = Translate([](auto* r) {
    v1::SamplingParams* sampling = r->mutable_sampling();
    sampling->set_temperature(100);
    sampling->set_top_p(1);
    sampling->set_top_k(5000);
    sampling->set_min_p(1);
    sampling->set_seed(std::numeric_limits<uint64_t>::max());
    sampling->set_repetition_penalty(1.5f);
    sampling->set_presence_penalty(-2);
    sampling->set_frequency_penalty(2);
    (*sampling->mutable_logit_bias())[99] = -3;
    (*sampling->mutable_logit_bias())[4] = 5;
    sampling->set_num_samples(16);
  });
  ASSERT_TRUE(request.ok()) << request.status();
  const SamplingParams& sampling = request->sampling;
  EXPECT_EQ(sampling.temperature, 100);
  EXPECT_EQ(sampling.top_p, 1);
  EXPECT_EQ(sampling.top_k, 100);  // the whole vocabulary
  EXPECT_EQ(sampling.min_p, 1);
  EXPECT_EQ(sampling.seed, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(sampling.presence_penalty, -2);
  EXPECT_EQ(sampling.frequency_penalty, 2);
  EXPECT_THAT(sampling.logit_bias,
              ::testing::ElementsAre(std::pair(4, 5.0f), std::pair(99, -3.0f)));
  EXPECT_EQ(sampling.num_samples, 16);
}

TEST(RequestTranslation, CarriesStoppingSpeculationAndOutput) {
  const auto request = Translate([](auto* r) {
    v1::StoppingCriteria* stopping = r->mutable_stopping();
    stopping->set_max_new_tokens(0xffffffffu);
    stopping->add_stop_sequences("\u00e9");
    stopping->add_stop_token_ids(99);
    stopping->set_ignore_eos(true);
    stopping->set_include_stop_text(true);
    stopping->set_time_limit_ms(1);
    r->mutable_speculation()->mutable_auto_()->set_max_draft_tokens(32);
    r->mutable_speculation()->mutable_auto_()->add_exit_layers(7);
    r->mutable_output()->set_logprobs(20);
    r->mutable_output()->set_prompt_logprobs(true);
    r->mutable_output()->set_stream_drafts(true);
    r->mutable_output()->set_echo(true);
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->stopping.max_new_tokens, 64);  // the context
  EXPECT_THAT(request->stopping.stop_sequences, ::testing::ElementsAre("\u00e9"));
  EXPECT_THAT(request->stopping.stop_token_ids, ::testing::ElementsAre(99));
  EXPECT_TRUE(request->stopping.ignore_eos);
  EXPECT_TRUE(request->stopping.include_stop_text);
  EXPECT_EQ(request->stopping.time_limit, std::chrono::milliseconds(1));
  EXPECT_EQ(request->speculation.mode, Speculation::Mode::kAuto);
  EXPECT_EQ(request->speculation.num_draft_tokens, 32);
  EXPECT_THAT(request->speculation.exit_layers, ::testing::ElementsAre(7));
  EXPECT_EQ(request->output.logprobs, 20);
  EXPECT_TRUE(request->output.prompt_logprobs);
  EXPECT_TRUE(request->output.stream_drafts);
  EXPECT_TRUE(request->output.echo);
}

TEST(RequestTranslation, ScoringNeedsNoNewTokens) {
  const auto request = Translate([](auto* r) {
    r->mutable_stopping()->set_max_new_tokens(0);
    r->mutable_output()->set_prompt_logprobs(true);
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->stopping.max_new_tokens, 0);
}

TEST(RequestTranslation, AbsentSpeculationFollowsTheServer) {
  RequestDefaults defaults = Defaults();
  defaults.speculation = Speculation::Mode::kFixed;
  auto request = TranslateGenerateRequest(Minimal(), defaults, kLimits);
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->speculation.mode, Speculation::Mode::kFixed);
  EXPECT_EQ(request->speculation.exit_layer, 3);
  EXPECT_EQ(request->speculation.num_draft_tokens, 5);
  defaults.speculation = Speculation::Mode::kOff;
  request = TranslateGenerateRequest(Minimal(), defaults, kLimits);
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->speculation.mode, Speculation::Mode::kOff);
}

}  // namespace
}  // namespace strata::server
