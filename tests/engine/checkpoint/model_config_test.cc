#include "engine/checkpoint/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/engine/checkpoint/checkpoint_writer.h"
#include "tests/engine/checkpoint/temporary_folder.h"

namespace strata {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ModelConfigTest : public ::testing::Test {
 protected:
  // The valid config with `changes` merged in; a value of "<removed>" removes the key.
  absl::StatusOr<ModelConfig> Read(const json& changes) {
    json config = ConfigJson({});
    for (const auto& [key, value] : changes.items()) {
      if (value == "<removed>") {
        config.erase(key);
      } else {
        config[key] = value;
      }
    }
    WriteFile(folder_.path() + "/config.json", config.dump());
    return ReadModelConfig(folder_.path());
  }
  void WriteGeneration(const json& generation) {
    WriteFile(folder_.path() + "/generation_config.json", generation.dump());
  }

  TemporaryFolder folder_;
};

TEST_F(ModelConfigTest, ReadsEveryField) {
  const auto config = Read({{"rope_theta", 500000.0}, {"rms_norm_eps", 1e-6}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vocab_size, 64);
  EXPECT_EQ(config->hidden_size, 32);
  EXPECT_EQ(config->intermediate_size, 48);
  EXPECT_EQ(config->num_layers, 2);
  EXPECT_EQ(config->num_heads, 2);
  EXPECT_EQ(config->num_kv_heads, 1);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->max_position_embeddings, 128);
  EXPECT_EQ(config->rms_norm_eps, 1e-6);
  EXPECT_EQ(config->rope_theta, 500000.0);
  EXPECT_EQ(config->rope_scaling.type, RopeScaling::Type::kNone);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_EQ(config->bos_token_id, 1);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(2));
  EXPECT_EQ(config->name, "tiny");
}

TEST_F(ModelConfigTest, FillsInWhatHuggingFaceFillsIn) {
  const auto config = Read({{"num_key_value_heads", "<removed>"},
                            {"head_dim", nullptr},
                            {"rms_norm_eps", "<removed>"},
                            {"rope_theta", "<removed>"},
                            {"tie_word_embeddings", "<removed>"},
                            {"bos_token_id", nullptr},
                            {"eos_token_id", nullptr},
                            {"_name_or_path", ""}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->num_kv_heads, 2);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->rms_norm_eps, 1e-6);
  EXPECT_EQ(config->rope_theta, 10000.0);
  EXPECT_EQ(config->bos_token_id, std::nullopt);
  EXPECT_THAT(config->eos_token_ids, IsEmpty());
  EXPECT_EQ(config->name, std::filesystem::path(folder_.path()).filename().string());
}

TEST_F(ModelConfigTest, ReadsRopeScalings) {
  const json llama3 = {{"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  for (const char* key : {"rope_type", "type"}) {
    json scaling = llama3;
    scaling[key] = "llama3";
    const auto config = Read({{"rope_scaling", scaling}});
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->rope_scaling.type, RopeScaling::Type::kLlama3);
    EXPECT_EQ(config->rope_scaling.factor, 8.0);
    EXPECT_EQ(config->rope_scaling.high_freq_factor, 4.0);
    EXPECT_EQ(config->rope_scaling.original_max_position_embeddings, 64);
  }
  const auto linear = Read({{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}});
  ASSERT_TRUE(linear.ok()) << linear.status();
  EXPECT_EQ(linear->rope_scaling.type, RopeScaling::Type::kLinear);
  EXPECT_EQ(linear->rope_scaling.factor, 2.0);

  const auto parameters = Read(
      {{"rope_parameters", {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 123.0}}}});
  ASSERT_TRUE(parameters.ok()) << parameters.status();
  EXPECT_EQ(parameters->rope_scaling.type, RopeScaling::Type::kLinear);
  EXPECT_EQ(parameters->rope_theta, 123.0);
  const auto plain = Read({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 99.0}}}});
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->rope_scaling.type, RopeScaling::Type::kNone);
  EXPECT_EQ(plain->rope_theta, 99.0);
}

TEST_F(ModelConfigTest, GenerationConfigsEosWins) {
  WriteGeneration({{"eos_token_id", {7, 9, 7}}});
  EXPECT_THAT(Read({})->eos_token_ids, ElementsAre(7, 9));
  WriteGeneration({{"eos_token_id", nullptr}});
  EXPECT_THAT(Read({{"eos_token_id", 5}})->eos_token_ids, ElementsAre(5));
  WriteGeneration({{"eos_token_id", 64}});
  EXPECT_THAT(std::string(Read({}).status().message()),
              HasSubstr("generation_config.json: eos_token_id is 64, expected ids below"));
}

TEST_F(ModelConfigTest, RefusesWithOneClearMessage) {
  const std::string long_text(10000, 'x');
  const struct {
    json changes;
    const char* message;
  } cases[] = {
      {{{"architectures", {"MistralForCausalLM"}}}, "architectures is [\"MistralForCausalLM\"], "},
      {{{"architectures", json::array()}}, "architectures is []"},
      {{{"architectures", "LlamaForCausalLM"}}, "architectures is \"LlamaForCausalLM\""},
      {{{"architectures", "<removed>"}, {"model_type", "<removed>"}}, "architectures is null"},
      {{{"model_type", "mistral"}}, "model_type is \"mistral\", expected \"llama\""},
      {{{"model_type", 5}}, "model_type is 5, expected a string"},
      {{{"attention_bias", true}}, "attention_bias is true, expected false"},
      {{{"mlp_bias", true}}, "mlp_bias is true, expected false"},
      {{{"mlp_bias", "no"}}, "mlp_bias is \"no\", expected true or false"},
      {{{"hidden_act", "gelu"}}, "hidden_act is \"gelu\", expected \"silu\""},
      {{{"quantization_config", {{"bits", 4}}}}, "quantization_config is {\"bits\":4}"},
      {{{"vocab_size", "<removed>"}}, "key vocab_size is missing"},
      {{{"vocab_size", 0}}, "vocab_size is 0, expected an integer from 1 to 1048576"},
      {{{"vocab_size", -5}}, "vocab_size is -5, expected"},
      {{{"vocab_size", 1 << 21}}, "vocab_size is 2097152, expected"},
      {{{"vocab_size", 18446744073709551615u}}, "vocab_size is 18446744073709551615, expected"},
      {{{"vocab_size", 64.5}}, "vocab_size is 64.5, expected an integer"},
      {{{"vocab_size", "64"}}, "vocab_size is \"64\", expected an integer"},
      {{{"vocab_size", json::array({64})}}, "vocab_size is [64], expected an integer"},
      {{{"hidden_size", 0}}, "hidden_size is 0, expected"},
      {{{"hidden_size", 40}}, "hidden_size is 40, expected a multiple of 16"},
      {{{"hidden_size", 1 << 20}}, "hidden_size is 1048576, expected"},
      {{{"intermediate_size", -1}}, "intermediate_size is -1, expected"},
      {{{"intermediate_size", 50}}, "intermediate_size is 50, expected a multiple of 16"},
      {{{"num_hidden_layers", 0}}, "num_hidden_layers is 0, expected"},
      {{{"num_hidden_layers", 1000000000}}, "num_hidden_layers is 1000000000, expected"},
      {{{"num_attention_heads", 0}}, "num_attention_heads is 0, expected"},
      {{{"num_attention_heads", 3}, {"head_dim", nullptr}, {"num_key_value_heads", 1}},
       "hidden_size is 32, expected a multiple of num_attention_heads, 3"},
      {{{"num_key_value_heads", 0}}, "num_key_value_heads is 0, expected"},
      {{{"num_key_value_heads", 4}}, "num_key_value_heads is 4, expected a divisor"},
      {{{"num_attention_heads", 3}, {"num_key_value_heads", 2}}, "num_key_value_heads is 2, "},
      {{{"head_dim", 24}}, "head_dim is 24, expected a multiple of 16"},
      {{{"head_dim", 272}}, "head_dim is 272, expected"},
      {{{"head_dim", 0}}, "head_dim is 0, expected"},
      {{{"head_dim", nullptr}, {"num_attention_heads", 4}}, "head_dim is 8, expected a multiple"},
      {{{"hidden_size", 1024}, {"head_dim", nullptr}}, "head_dim is 512, expected a multiple"},
      {{{"max_position_embeddings", 0}}, "max_position_embeddings is 0, expected"},
      {{{"max_position_embeddings", 1LL << 40}}, "max_position_embeddings is 1099511627776, "},
      {{{"rms_norm_eps", -1e-5}}, "rms_norm_eps is -1e-05, expected a number from 0 to 1"},
      {{{"rms_norm_eps", "small"}}, "rms_norm_eps is \"small\", expected a number"},
      {{{"rope_theta", 0}}, "rope_theta is 0, expected"},
      {{{"rope_theta", 1e300}}, "rope_theta is 1e+300, expected"},
      {{{"partial_rotary_factor", 0.5}}, "partial_rotary_factor is 0.5, expected 1"},
      {{{"rope_scaling", "linear"}}, "rope_scaling is \"linear\", expected an object"},
      {{{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}}}},
       "rope_scaling.rope_type is \"yarn\", expected one of the supported types: \"default\" "
       "(none), \"linear\", \"llama3\""},
      {{{"rope_scaling", {{"type", "dynamic"}, {"factor", 2}}}},
       "rope_scaling.type is \"dynamic\""},
      {{{"rope_parameters", {{"rope_type", "longrope"}}}}, "rope_parameters.rope_type is "},
      {{{"rope_scaling", {{"type", "linear"}}}}, "key rope_scaling.factor is missing"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}, "rope_scaling.factor is 0, "},
      {{{"rope_scaling", {{"type", "llama3"}, {"factor", 8}}}}, "low_freq_factor is missing"},
      {{{"rope_scaling",
         {{"type", "llama3"},
          {"factor", 8},
          {"low_freq_factor", 4},
          {"high_freq_factor", 4},
          {"original_max_position_embeddings", 64}}}},
       "high_freq_factor is 4.0, expected a number greater than low_freq_factor"},
      {{{"bos_token_id", 64}}, "bos_token_id is 64, expected an integer from 0 to 63"},
      {{{"bos_token_id", -1}}, "bos_token_id is -1, expected"},
      {{{"eos_token_id", 64}}, "eos_token_id is 64, expected ids below vocab_size, 64"},
      {{{"eos_token_id", {2, 64}}}, "eos_token_id is [2,64], expected ids below"},
      {{{"eos_token_id", -1}}, "eos_token_id is -1, expected ids"},
      {{{"eos_token_id", "</s>"}}, "eos_token_id is \"</s>\", expected ids"},
      {{{"eos_token_id", std::vector<int>(100, 1)}}, "eos_token_id is an array of 100 values"},
      {{{"tie_word_embeddings", 1}}, "tie_word_embeddings is 1, expected true or false"},
      {{{"hidden_act", long_text}}, "hidden_act is \"xxx"},
  };
  for (const auto& test : cases) {
    const auto config = Read(test.changes);
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << test.changes;
    const std::string message(config.status().message());
    EXPECT_THAT(message, HasSubstr(test.message));
    EXPECT_THAT(message, HasSubstr(folder_.path() + "/config.json: "));
    EXPECT_LT(message.size(), 500u);
  }
}

TEST_F(ModelConfigTest, NeedsConfigJson) {
  EXPECT_TRUE(absl::IsNotFound(ReadModelConfig(folder_.path()).status()));
  WriteFile(folder_.path() + "/config.json", "{\"vocab_size\": 1, \"vocab_size\": 2}");
  EXPECT_THAT(std::string(ReadModelConfig(folder_.path()).status().message()),
              HasSubstr("key \"vocab_size\" appears twice"));
}

TEST_F(ModelConfigTest, ReadsGenerationDefaults) {
  EXPECT_EQ(ReadGenerationDefaults(folder_.path())->temperature, std::nullopt);
  WriteGeneration({{"do_sample", true},
                   {"temperature", 0.5},
                   {"top_p", 0.75},
                   {"top_k", 40},
                   {"repetition_penalty", 1.25},
                   {"max_new_tokens", 64}});
  const auto defaults = ReadGenerationDefaults(folder_.path());
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->temperature, 0.5f);
  EXPECT_EQ(defaults->top_p, 0.75f);
  EXPECT_EQ(defaults->top_k, 40);
  EXPECT_EQ(defaults->repetition_penalty, 1.25f);
  EXPECT_EQ(defaults->max_new_tokens, 64);
  WriteGeneration({{"do_sample", false}, {"temperature", 0.5}});
  EXPECT_EQ(ReadGenerationDefaults(folder_.path())->temperature, 0.0f);
}

TEST_F(ModelConfigTest, RefusesBadGenerationDefaults) {
  const struct {
    json generation;
    const char* message;
  } cases[] = {
      {{{"temperature", -1}}, "temperature is -1, expected a number from 0"},
      {{{"temperature", "hot"}}, "temperature is \"hot\""},
      {{{"top_p", 0}}, "top_p is 0, expected"},
      {{{"top_p", 1.5}}, "top_p is 1.5, expected"},
      {{{"top_k", -1}}, "top_k is -1, expected"},
      {{{"top_k", 1LL << 40}}, "top_k is 1099511627776, expected"},
      {{{"repetition_penalty", 0}}, "repetition_penalty is 0, expected"},
      {{{"max_new_tokens", 0}}, "max_new_tokens is 0, expected"},
      {{{"do_sample", "yes"}}, "do_sample is \"yes\", expected true or false"},
  };
  for (const auto& test : cases) {
    WriteGeneration(test.generation);
    EXPECT_THAT(std::string(ReadGenerationDefaults(folder_.path()).status().message()),
                HasSubstr(test.message));
  }
}

}  // namespace
}  // namespace strata
