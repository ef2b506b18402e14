#include "engine/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "engine/checkpoint/model_tensors.h"
#include "tests/engine/checkpoint/checkpoint_writer.h"
#include "tests/engine/checkpoint/temporary_folder.h"

namespace strata {
namespace {

using kernels::DType;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string BytesOf(const kernels::HostMatrix& matrix) {
  return {static_cast<const char*>(matrix.data),
          static_cast<size_t>(matrix.rows * matrix.cols) * kernels::SizeOf(matrix.dtype)};
}

// Everything that the checkpoint must give back of what was written.
void ExpectHolds(const Checkpoint& checkpoint, const TinyModel& model) {
  int64_t num_parameters = 0;
  for (const RawTensor& tensor : RandomTensors(model)) {
    SCOPED_TRACE(tensor.name);
    const kernels::HostMatrix matrix = checkpoint.Tensor(tensor.name);
    EXPECT_EQ(matrix.dtype, model.dtype);
    EXPECT_EQ(matrix.rows, tensor.shape.size() == 1 ? 1 : tensor.shape[0]);
    EXPECT_EQ(matrix.cols, tensor.shape.back());
    EXPECT_EQ(BytesOf(matrix), tensor.bytes);
    num_parameters += matrix.rows * matrix.cols;
  }
  EXPECT_EQ(checkpoint.num_parameters(), num_parameters);
}

TEST(Checkpoint, OpensEveryShapeTypeAndLayout) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const bool tied : {false, true}) {
      for (const int num_shards : {1, 3, 50}) {
        for (const auto& [num_heads, num_kv_heads, head_dim] :
             {std::tuple(2, 2, 16), std::tuple(2, 1, 16), std::tuple(4, 2, 32)}) {
          const TemporaryFolder folder;
          TinyModel model{.dtype = dtype, .num_shards = num_shards};
          model.config.tie_word_embeddings = tied;
          model.config.num_heads = num_heads;
          model.config.num_kv_heads = num_kv_heads;
          model.config.head_dim = head_dim;
          WriteCheckpoint(folder.path(), model);
          const auto checkpoint = Checkpoint::Open(folder.path());
          ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
          ExpectHolds(**checkpoint, model);
          EXPECT_EQ((*checkpoint)->folder(), folder.path());
        }
      }
    }
  }
}

TEST(Checkpoint, OpensTheDemoModel) {
  const auto checkpoint = Checkpoint::Open(STRATA_SOURCE_DIR "/models/demo");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->config().num_layers, 16);
  EXPECT_EQ((*checkpoint)->config().name, "demo");
  EXPECT_THAT((*checkpoint)->config().eos_token_ids, ElementsAre(2));
  EXPECT_EQ((*checkpoint)->generation_defaults().temperature, 0.6f);
  EXPECT_EQ((*checkpoint)->license().needs_acceptance, false);
  const kernels::HostMatrix head = (*checkpoint)->Tensor("lm_head.weight");
  EXPECT_EQ(head.rows, 4096);
  EXPECT_EQ(head.cols, 256);
  EXPECT_EQ(head.dtype, DType::kBF16);
}

TEST(Checkpoint, OpensShardsWithTiedEmbeddings) {
  const auto checkpoint = Checkpoint::Open(STRATA_SOURCE_DIR "/tests/goldens/models/tiny-llama3");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const ModelConfig& config = (*checkpoint)->config();
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.rope_scaling.type, RopeScaling::Type::kLlama3);
  EXPECT_EQ(config.rope_scaling.original_max_position_embeddings, 128);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(1501, 1504));
  EXPECT_EQ((*checkpoint)->num_parameters(), 710400 / 2);  // the index's total_size, in bf16
}

class BadCheckpointTest : public ::testing::Test {
 protected:
  // The error of a checkpoint whose tensors `change` has changed.
  template <typename Change>
  std::string ErrorAfter(Change change, TinyModel model = {}) {
    WriteCheckpoint(folder_.path(), model);
    std::vector<RawTensor> tensors = RandomTensors(model);
    change(tensors);
    WriteFile(folder_.path() + "/model.safetensors", SerializeSafetensors(tensors));
    return Error();
  }
  // The error of a sharded checkpoint whose index `change` has changed.
  template <typename Change>
  std::string ErrorAfterIndex(Change change) {
    WriteCheckpoint(folder_.path(), {.num_shards = 2});
    const std::string path = folder_.path() + "/model.safetensors.index.json";
    json index = json::parse(ReadFile(path));
    change(index);
    WriteFile(path, index.dump());
    return Error();
  }
  std::string Error() {
    const auto checkpoint = Checkpoint::Open(folder_.path());
    return checkpoint.ok() ? "no error" : std::string(checkpoint.status().message());
  }

  TemporaryFolder folder_;
};

RawTensor& Find(std::vector<RawTensor>& tensors, const std::string& name) {
  for (RawTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << name;
  return tensors.front();
}

TEST_F(BadCheckpointTest, FolderOrFilesMissing) {
  EXPECT_TRUE(absl::IsNotFound(Checkpoint::Open(folder_.path() + "/none").status()));
  WriteCheckpoint(folder_.path(), {});
  EXPECT_THAT(std::string(Checkpoint::Open(folder_.path() + "/config.json").status().message()),
              HasSubstr("not a folder"));
  std::filesystem::remove(folder_.path() + "/model.safetensors");
  EXPECT_TRUE(absl::IsNotFound(Checkpoint::Open(folder_.path()).status()));
  EXPECT_THAT(Error(), HasSubstr("neither model.safetensors nor model.safetensors.index.json"));
  std::filesystem::remove(folder_.path() + "/config.json");
  EXPECT_TRUE(absl::IsNotFound(Checkpoint::Open(folder_.path()).status()));
}

TEST_F(BadCheckpointTest, TensorMissing) {
  for (const TensorSpec& spec : ModelTensors(TinyModel::DefaultConfig())) {
    EXPECT_THAT(ErrorAfter([&](auto& tensors) {
                  std::erase_if(tensors, [&](auto& t) { return t.name == spec.name; });
                }),
                HasSubstr("model.safetensors: tensor \"" + spec.name +
                          "\" is missing, but config.json implies it"));
  }
}

TEST_F(BadCheckpointTest, TensorOfWrongShape) {
  EXPECT_THAT(ErrorAfter([](auto& tensors) {
                Find(tensors, "model.layers.1.self_attn.k_proj.weight").shape = {32, 16};
              }),
              HasSubstr("tensor \"model.layers.1.self_attn.k_proj.weight\" has shape [32, 16], "
                        "expected [16, 32] from config.json"));
  EXPECT_THAT(ErrorAfter([](auto& tensors) {
                Find(tensors, "model.norm.weight").shape = {1, 32};
              }),
              HasSubstr("has shape [1, 32], expected [32]"));
}

TEST_F(BadCheckpointTest, TensorOfUnsupportedType) {
  EXPECT_THAT(ErrorAfter([](auto& tensors) { Find(tensors, "model.norm.weight").dtype = "I16"; }),
              HasSubstr("\"model.norm.weight\" has type I16, supported are F32, F16 and BF16"));
  EXPECT_THAT(ErrorAfter([](auto& tensors) { Find(tensors, "model.norm.weight").dtype = "Q4"; }),
              HasSubstr("has type Q4, supported are"));
}

TEST_F(BadCheckpointTest, TensorMisaligned) {
  const auto shift_by_one = [](auto& tensors) {
    tensors.insert(tensors.begin(), RawTensor{"odd", "U8", {1}, "x"});
  };
  EXPECT_THAT(ErrorAfter(shift_by_one), HasSubstr("starts at a position that is no multiple of 2"));
  EXPECT_THAT(ErrorAfter(shift_by_one, {.dtype = DType::kF32}),
              HasSubstr("no multiple of 4, the size of F32"));
}

TEST_F(BadCheckpointTest, ExtraTensorsAreIgnored) {
  EXPECT_EQ(
      ErrorAfter([](auto& tensors) {
        tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {1}, "abcd"});
        tensors.push_back({"unaligned", "U8", {3}, "abc"});
        tensors.push_back({"counter", "I64", {}, "12345678"});
      }),
      "no error");
  TinyModel tied;
  tied.config.tie_word_embeddings = true;
  EXPECT_EQ(ErrorAfter(
                [](auto& tensors) {
                  tensors.push_back({"lm_head.weight", "U8", {1}, "x"});
                },
                tied),
            "no error");
}

TEST_F(BadCheckpointTest, IndexNamesFilesOutsideTheFolder) {
  // The file outside is a good one: only its place is wrong.
  TemporaryFolder outside;
  WriteCheckpoint(outside.path(), {});
  for (const std::string& name :
       {std::string("../other/model.safetensors"), outside.path() + "/model.safetensors",
        std::string("sub/model.safetensors"), std::string(".."), std::string("."), std::string(),
        std::string("a\0b", 3), std::string(300, 'x'), std::string("a\\b")}) {
    EXPECT_THAT(
        ErrorAfterIndex([&](json& index) { index["weight_map"]["model.norm.weight"] = name; }),
        HasSubstr("weight_map puts tensor \"model.norm.weight\" into"))
        << name;
  }
  EXPECT_THAT(ErrorAfterIndex([&](json& index) { index["weight_map"]["model.norm.weight"] = 5; }),
              HasSubstr("into 5, which is not the name of a file"));
}

TEST_F(BadCheckpointTest, IndexIsIncomplete) {
  EXPECT_THAT(ErrorAfterIndex([](json& index) { index.erase("weight_map"); }),
              HasSubstr("weight_map is null, expected an object"));
  EXPECT_THAT(ErrorAfterIndex([](json& index) {
                index["weight_map"] = {1, 2};
              }),
              HasSubstr("weight_map is [1,2], expected an object"));
  EXPECT_THAT(ErrorAfterIndex([](json& index) { index["weight_map"].erase("lm_head.weight"); }),
              HasSubstr("tensor \"lm_head.weight\" is missing from weight_map"));
  EXPECT_THAT(ErrorAfterIndex([](json& index) {
                index["weight_map"]["lm_head.weight"] = "model-00003-of-00002.safetensors";
              }),
              HasSubstr("model-00003-of-00002.safetensors: no such file, but "
                        "model.safetensors.index.json names this shard"));
  EXPECT_THAT(ErrorAfterIndex([](json& index) {
                auto& map = index["weight_map"];
                map["lm_head.weight"] = map["lm_head.weight"] == "model-00001-of-00002.safetensors"
                                            ? "model-00002-of-00002.safetensors"
                                            : "model-00001-of-00002.safetensors";
              }),
              HasSubstr("tensor \"lm_head.weight\" is missing, but config.json implies it"));
}

TEST_F(BadCheckpointTest, ShardTruncated) {
  WriteCheckpoint(folder_.path(), {.num_shards = 2});
  const std::string path = folder_.path() + "/model-00002-of-00002.safetensors";
  const std::string content = ReadFile(path);
  WriteFile(path, std::string_view(content).substr(0, content.size() - 100));
  EXPECT_THAT(Error(), HasSubstr(path + ": tensor "));
  EXPECT_THAT(Error(), HasSubstr("the file is damaged, download it again"));
}

TEST(CheckpointDeathTest, AbortsOnTensorsThatOpenHasNotChecked) {
  const TemporaryFolder folder;
  WriteCheckpoint(folder.path(), {});
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_DEATH((*checkpoint)->Tensor("model.layers.99.mlp.up_proj.weight"),
               "not among the model's");
}

// The writer rounds as hardware does.
TEST(CheckpointWriter, RoundsToNearestEven) {
  const auto bits = [](float value, DType dtype) {
    uint16_t out;
    std::memcpy(&out, EncodeFloats({value}, dtype).data(), sizeof(out));
    return out;
  };
  EXPECT_EQ(bits(1.0f, DType::kBF16), 0x3f80);
  EXPECT_EQ(bits(1.0f + 0x1p-8f, DType::kBF16), 0x3f80);
  EXPECT_EQ(bits(1.0f + 0x1.8p-7f, DType::kBF16), 0x3f82);
  EXPECT_EQ(bits(1.0f, DType::kF16), 0x3c00);
  EXPECT_EQ(bits(-2.0f, DType::kF16), 0xc000);
  EXPECT_EQ(bits(1.0f + 0x1p-11f, DType::kF16), 0x3c00);
  EXPECT_EQ(bits(1.0f + 0x1.8p-10f, DType::kF16), 0x3c02);
  EXPECT_EQ(bits(65504.0f, DType::kF16), 0x7bff);
  EXPECT_EQ(bits(0x1p-14f, DType::kF16), 0x0400);
  EXPECT_EQ(bits(0x1p-24f, DType::kF16), 0x0001);
  EXPECT_EQ(bits(0x1.ffep-15f, DType::kF16), 0x0400);
}

}  // namespace
}  // namespace strata
