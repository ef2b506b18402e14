#include "engine/policy/experience_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "tests/engine/unit/draft_world.h"

namespace strata {
namespace {

constexpr int kNumLayers = 32;
constexpr char kModel[] = "demo (32 layers)";

DraftController::Experience SomeExperience() {
  DraftWorldOptions options;
  DraftControllerConfig config;
  config.num_layers = options.num_layers;
  config.exit_layers = CandidateExits(options.num_layers);
  DraftController controller(config, DraftWorld::Profile(options));
  controller.Tenant("somebody \"else\"\n");
  DraftWorld world(options);
  world.RunAuto(300, controller);
  return controller.experience();
}

absl::StatusOr<DraftController::Experience> Parse(const std::string& text) {
  return ParseExperience(text, "FILE", kModel, kNumLayers);
}

class ExperienceFile : public testing::Test {
 protected:
  ExperienceFile() {
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("experience_" + std::to_string(std::random_device()()));
    std::filesystem::create_directory(folder_);
    path_ = folder_ / "state.json";
  }
  ~ExperienceFile() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_, path_;
};

TEST_F(ExperienceFile, BringsBackWhatWasWritten) {
  const DraftController::Experience written = SomeExperience();
  ASSERT_TRUE(WriteExperience(path_, written, kModel).ok());
  const auto read = ReadExperience(path_, kModel, kNumLayers);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->exit_layer, written.exit_layer);
  EXPECT_EQ(ToJson(*read, kModel), ToJson(written, kModel));
  for (int exit = 1; exit < kNumLayers; ++exit) {
    for (int index = 0; index < 5; ++index) {
      for (int c = 0; c < AcceptanceModel::kNumConfidences; ++c) {
        const auto mode = Sampler::Mode::kGreedy;
        EXPECT_FLOAT_EQ(read->acceptance.BeforeDraft(mode, exit, index, c),
                        written.acceptance.BeforeDraft(mode, exit, index, c));
        EXPECT_FLOAT_EQ(read->acceptance.AfterDraft(mode, exit, index, c),
                        written.acceptance.AfterDraft(mode, exit, index, c));
      }
    }
  }
  EXPECT_EQ(read->tenants.tenants().size(), 2u);
}

TEST_F(ExperienceFile, ReplacesAFileAndLeavesNothingBeside) {
  ASSERT_TRUE(WriteExperience(path_, SomeExperience(), kModel).ok());
  ASSERT_TRUE(WriteExperience(path_, SomeExperience(), kModel).ok());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(ExperienceFile, SaysWhatIsMissingAndWhatCannotBeWritten) {
  EXPECT_EQ(ReadExperience(path_, kModel, kNumLayers).status().code(), absl::StatusCode::kNotFound);
  const absl::Status status =
      WriteExperience(folder_ / "no" / "such" / "folder", SomeExperience(), kModel);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(status.message()).find("No such file"), std::string::npos);
  // A folder is no file.
  EXPECT_FALSE(ReadExperience(folder_, kModel, kNumLayers).ok());
}

TEST_F(ExperienceFile, RefusesAnotherModels) {
  const std::string text = ToJson(SomeExperience(), kModel);
  const auto other = ParseExperience(text, "FILE", "other", kNumLayers);
  EXPECT_NE(std::string(other.status().message()).find("learnt on demo"), std::string::npos);
  EXPECT_FALSE(ParseExperience(text, "FILE", kModel, 3).ok());
}

TEST_F(ExperienceFile, RefusesWhatNoServerWrote) {
  const std::string good = ToJson(SomeExperience(), kModel);
  ASSERT_TRUE(Parse(good).ok());
  const auto with = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const std::string& text : {
           std::string(),
           std::string("{"),
           std::string("[]"),
           std::string("{}"),
           with("strata-policy-2", "strata-policy-9"),
           with("\"exit_layer\":", "\"exit_layer\":1e9,\"x\":"),
           with("\"exit_layer\":", "\"exit_layer\":-1,\"x\":"),
           with("\"mode\":0", "\"mode\":7"),
           with("\"mode\":0", "\"mode\":\"greedy\""),
           with("\"outcomes\":[", "\"outcomes\":[1,"),
           with("\"outcomes\":[", "\"outcomes\":[],\"x\":["),
           with("\"odds\":[1.0", "\"odds\":[1e300"),
           with("\"odds\":[1.0", "\"odds\":[-1"),
           with("\"odds\":[1.0", "\"odds\":[null"),
           with("\"odds\":[1.0", "\"odds\":[\"1\""),
           with("\"variances\":[", "\"variances\":[9,\"x\":["),
           with("\"first\":[", "\"first\":[0,0.1],\"x\":["),
           with("\"factor\":[", "\"factor\":[1,0.1,"),
           with("\"tenants\":[", "\"tenants\":[7,"),
           with("\"tenants\":[", "\"tenants\":[{},"),
           with("\"acceptance\":[", "\"acceptance\":{\"a\":["),
           good + good,
           good.substr(0, good.size() / 2),
       }) {
    const auto parsed = Parse(text);
    ASSERT_FALSE(parsed.ok()) << text.substr(0, 200);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(parsed.status().message().substr(0, 4), "FILE");
  }
}

// Bytes turned over at random: an error or figures in range, never more.
TEST_F(ExperienceFile, SurvivesDamage) {
  const std::string good = ToJson(SomeExperience(), kModel);
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string text = good;
    for (int n = std::uniform_int_distribution(1, 4)(random); n > 0; --n) {
      const size_t at = std::uniform_int_distribution<size_t>(0, text.size() - 1)(random);
      text[at] = static_cast<char>(std::uniform_int_distribution(0, 255)(random));
    }
    const auto parsed = Parse(text);
    if (!parsed.ok()) continue;
    EXPECT_GE(parsed->exit_layer, 1);
    EXPECT_LT(parsed->exit_layer, kNumLayers);
    for (int exit = 1; exit < kNumLayers; ++exit) {
      const double chance =
          parsed->acceptance.BeforeDraft(Sampler::Mode::kGreedy, exit, 1, AcceptanceModel::kAny);
      ASSERT_TRUE(chance > 0 && chance < 1);
    }
  }
}

}  // namespace
}  // namespace strata
