// Packed folders: written, opened, and refused.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "engine/checkpoint/license.h"
#include "engine/checkpoint/packed_file.h"
#include "engine/model/pack_checkpoint.h"
#include "kernels/reference/reference_backend.h"
#include "nlohmann/json.hpp"
#include "tests/engine/checkpoint/checkpoint_writer.h"
#include "tests/engine/checkpoint/temporary_folder.h"
#include "tests/engine/checkpoint/tokenizer_writer.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

namespace fs = std::filesystem;
using kernels::WeightFormat;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using RandomModel = struct TinyModel;  // test_models.h has a function of that name

std::unique_ptr<kernels::Backend> BackendOf(const TestDevice& device) {
  return kernels::CreateCpuBackend({device.weights, device.num_threads, device.isa});
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

// Logits of a few tokens of the checkpoint in `folder`.
std::vector<float> Logits(const std::string& folder, const TestDevice& device) {
  const TestModel test = OpenModel(folder, device);
  test.model->Forward(OneSequence({1, 5, 9, 33, 2, 60}, 0, {0, test.model->config().num_layers}));
  const std::vector<int32_t> rows = {0, 3, 5};
  const float* logits = test.model->Logits(rows);
  return {logits, logits + rows.size() * test.model->config().vocab_size};
}

class PackedTest : public ::testing::Test {
 protected:
  PackedTest() { fs::create_directory(source_); }

  absl::StatusOr<PackedSummary> Pack(const TestDevice& device, const std::string& out) const {
    const auto checkpoint = Checkpoint::Open(source_);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return PackCheckpoint(**checkpoint, *BackendOf(device), out);
  }
  // What is wrong with the packed folder: on opening it, else on loading it.
  std::string Error(const TestDevice& device = kDevice) const {
    const auto checkpoint = Checkpoint::Open(packed_);
    if (!checkpoint.ok()) return MessageOf(checkpoint.status());
    const auto backend = BackendOf(device);
    ModelLimits limits;
    limits.max_context = 64;
    limits.num_kv_blocks = 4;
    return MessageOf(LlamaModel::Create(**checkpoint, backend.get(), limits).status());
  }
  // The same after `change` has changed the header.
  std::string ErrorAfter(const std::function<void(json&)>& change) const {
    fs::remove_all(packed_);
    EXPECT_TRUE(Pack(kDevice, packed_).ok());
    const std::string content = ReadFile(weights_);
    uint64_t length = 0;
    std::memcpy(&length, content.data(), sizeof(length));
    json header = json::parse(content.substr(8, length));
    change(header);
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    WriteFile(weights_, SerializeSafetensors(text, content.substr(8 + length)));
    return Error();
  }
  int NumEntries() const {
    return static_cast<int>(std::distance(fs::directory_iterator(folder_.path()), {}));
  }

  static inline const TestDevice kDevice{"generic", WeightFormat::kInt4, 1};

  TemporaryFolder folder_;
  const std::string source_ = folder_.path() + "/source";
  const std::string packed_ = folder_.path() + "/packed";
  const std::string weights_ = packed_ + "/" + kPackedFileName;
};

TEST_F(PackedTest, ComputesTheSameBits) {
  RandomModel tied;
  tied.config.tie_word_embeddings = true;
  tied.dtype = kernels::DType::kF32;
  for (const RandomModel& model : {RandomModel(), tied}) {
    fs::remove_all(source_);
    fs::create_directory(source_);
    WriteCheckpoint(source_, model);
    for (TestDevice device : AllTestDevices()) {
      SCOPED_TRACE(NameOf(device));
      device.num_threads = 2;
      const std::string out = fmt::format("{}/{}", folder_.path(), NameOf(device));
      fs::remove_all(out);
      const auto summary = Pack(device, out);
      ASSERT_TRUE(summary.ok()) << summary.status();
      EXPECT_EQ(summary->size_bytes,
                static_cast<int64_t>(fs::file_size(out + "/" + kPackedFileName)));
      EXPECT_EQ(Logits(out, device), Logits(source_, device));
      const auto checkpoint = Checkpoint::Open(out);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      EXPECT_EQ(DefaultWeightFormat(**checkpoint), device.weights);
      EXPECT_EQ((*checkpoint)->num_parameters(), (*Checkpoint::Open(source_))->num_parameters());
    }
  }
}

TEST_F(PackedTest, HoldsWhatServingNeeds) {
  RandomModel model;
  model.config.vocab_size = kByteTokenizerSize;
  WriteCheckpoint(source_, model);
  WriteByteTokenizer(source_);
  WriteFile(source_ + "/generation_config.json", R"({"temperature": 0.25})");
  WriteFile(source_ + "/LICENSE.txt", "Permission is hereby granted, free of charge");
  ASSERT_TRUE(Pack(kDevice, packed_ + "/").ok());
  fs::remove_all(source_);
  const auto checkpoint = Checkpoint::Open(packed_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->generation_defaults().temperature, 0.25f);
  EXPECT_EQ((*checkpoint)->license().id, "mit");
  EXPECT_THAT((*checkpoint)->license().text, HasSubstr("Permission"));
  EXPECT_TRUE(Tokenizer::Open(packed_, kByteTokenizerSize).ok());
  EXPECT_EQ(NumEntries(), 1);  // nothing but the folder is left
}

// Its folder's name alone says what the model is.
TEST_F(PackedTest, KeepsNameAndLicence) {
  const std::string named = folder_.path() + "/layerskip-llama3.2-1B";
  fs::create_directory(named);
  WriteCheckpoint(named, {});
  json config = json::parse(ReadFile(named + "/config.json"));
  config.erase("_name_or_path");
  WriteFile(named + "/config.json", config.dump());
  const auto source = Checkpoint::Open(named);
  ASSERT_TRUE(source.ok());
  ASSERT_TRUE(PackCheckpoint(**source, *BackendOf(kDevice), packed_).ok());
  const auto checkpoint = Checkpoint::Open(packed_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->config().name, "layerskip-llama3.2-1B");
  EXPECT_EQ((*checkpoint)->license().id, kFairLicenseId);
  EXPECT_TRUE((*checkpoint)->license().needs_acceptance);
}

TEST(StricterOf, PrefersMoreToAccept) {
  const CheckpointLicense none;
  const CheckpointLicense apache{"apache-2.0", "text", true};
  const CheckpointLicense custom{"custom-noncommercial", "", true};
  const CheckpointLicense fair{kFairLicenseId, "", true};
  EXPECT_EQ(StricterOf(none, apache).id, "apache-2.0");
  EXPECT_EQ(StricterOf(apache, none).text, "text");
  EXPECT_EQ(StricterOf(apache, custom).id, "custom-noncommercial");
  EXPECT_EQ(StricterOf(fair, custom).id, kFairLicenseId);
}

TEST_F(PackedTest, RefusesToOverwrite) {
  WriteCheckpoint(source_, {});
  fs::create_directory(packed_);
  EXPECT_TRUE(Pack(kDevice, packed_).ok());  // it was empty
  const std::string before = ReadFile(weights_);
  EXPECT_THAT(MessageOf(Pack(kDevice, packed_).status()),
              AllOf(HasSubstr(packed_), HasSubstr("exists and is no empty folder")));
  EXPECT_EQ(ReadFile(weights_), before);
  EXPECT_THAT(MessageOf(Pack(kDevice, weights_).status()), HasSubstr("is no empty folder"));
  EXPECT_THAT(MessageOf(Pack(kDevice, folder_.path() + "/no/such").status()),
              HasSubstr("No such file or directory"));
  EXPECT_EQ(NumEntries(), 2);
}

TEST_F(PackedTest, RefusesWhatCannotBePacked) {
  WriteCheckpoint(source_, {});
  ASSERT_TRUE(Pack(kDevice, packed_).ok());
  const auto packed = Checkpoint::Open(packed_);
  ASSERT_TRUE(packed.ok());
  const std::string out = folder_.path() + "/out";
  EXPECT_THAT(MessageOf(PackCheckpoint(**packed, *BackendOf(kDevice), out).status()),
              HasSubstr("is packed already"));
  const auto source = Checkpoint::Open(source_);
  const auto reference = kernels::CreateReferenceBackend();
  EXPECT_THAT(MessageOf(PackCheckpoint(**source, *reference, out).status()),
              HasSubstr("reference, 1 thread, f32 weights cannot be saved"));
  EXPECT_FALSE(fs::exists(out));
  // Nor can such a backend take packed weights.
  ModelLimits limits;
  limits.max_context = 16;
  limits.num_kv_blocks = 1;
  EXPECT_THAT(MessageOf(LlamaModel::Create(**packed, reference.get(), limits).status()),
              HasSubstr("takes 'none'"));
}

TEST_F(PackedTest, RefusesAnotherFormatOrLayout) {
  WriteCheckpoint(source_, {});
  ASSERT_TRUE(Pack(kDevice, packed_).ok());
  const auto packed = Checkpoint::Open(packed_);
  ASSERT_TRUE(packed.ok());
  EXPECT_EQ(*ChooseWeightFormat(**packed, std::nullopt), WeightFormat::kInt4);
  EXPECT_EQ(*ChooseWeightFormat(**packed, WeightFormat::kInt4), WeightFormat::kInt4);
  EXPECT_THAT(MessageOf(ChooseWeightFormat(**packed, WeightFormat::kBF16).status()),
              AllOf(HasSubstr("packed as int4, not bf16"), HasSubstr("leave --dtype out")));
  const auto source = Checkpoint::Open(source_);
  EXPECT_EQ(*ChooseWeightFormat(**source, std::nullopt), WeightFormat::kBF16);
  EXPECT_EQ(*ChooseWeightFormat(**source, WeightFormat::kInt8), WeightFormat::kInt8);

  EXPECT_THAT(Error({"generic", WeightFormat::kF32, 1}),
              AllOf(HasSubstr("are packed as 'int4 panels of"), HasSubstr("takes 'f32 panels of"),
                    HasSubstr("strata-server --save-packed")));
  const std::string own = BackendOf(kDevice)->packed_weights()->layout();
  for (const std::string& isa : kernels::AvailableCpuIsas()) {
    const TestDevice other{isa, WeightFormat::kInt4, 1};
    const bool fits = BackendOf(other)->packed_weights()->layout() == own;
    EXPECT_EQ(Error(other).empty(), fits) << isa;
  }
}

TEST_F(PackedTest, RefusesADamagedHeader) {
  WriteCheckpoint(source_, {});
  const std::string qkv = "model.layers.1.self_attn.qkv";
  const auto set = [](const char* key, const char* value) {
    return [=](json& header) { header["__metadata__"][key] = value; };
  };
  EXPECT_EQ(ErrorAfter([](json&) {}), "");
  EXPECT_THAT(ErrorAfter(set("strata_packed_version", "2")),
              AllOf(HasSubstr("version '2', this strata-server reads version 1"),
                    HasSubstr("pack the original checkpoint again")));
  EXPECT_THAT(ErrorAfter([](json& header) { header.erase("__metadata__"); }),
              HasSubstr("version ''"));
  EXPECT_THAT(ErrorAfter([](json& header) { header["__metadata__"] = 7; }),
              HasSubstr("version ''"));
  EXPECT_THAT(ErrorAfter(set("weight_format", "int2")), HasSubstr("'int2' is unknown"));
  EXPECT_THAT(ErrorAfter([](json& header) { header["__metadata__"].erase("license"); }),
              HasSubstr("its metadata lack 'license'"));
  EXPECT_THAT(ErrorAfter(set("layout", "int4 spirals")), HasSubstr("packed as 'int4 spirals'"));
  EXPECT_THAT(ErrorAfter([&](json& header) {
                header["other"] = header[qkv];
                header.erase(qkv);
              }),
              HasSubstr("matrix \"" + qkv + "\" is missing"));
  EXPECT_THAT(ErrorAfter([&](json& header) { header[qkv]["dtype"] = "I8"; }),
              HasSubstr("has type I8, expected U8"));
  EXPECT_THAT(
      ErrorAfter([&](json& header) { std::swap(header[qkv], header["model.layers.1.mlp.down"]); }),
      AllOf(HasSubstr("matrix " + qkv + " has"), HasSubstr("but config.json implies")));
  EXPECT_THAT(ErrorAfter([](json& header) { header.erase("model.norm.weight"); }),
              HasSubstr("belong to no tensor"));
}

TEST_F(PackedTest, RefusesAnotherConfiguration) {
  WriteCheckpoint(source_, {});
  ASSERT_TRUE(Pack(kDevice, packed_).ok());
  json config = json::parse(ReadFile(packed_ + "/config.json"));
  config["intermediate_size"] = 96;
  WriteFile(packed_ + "/config.json", config.dump());
  EXPECT_THAT(Error(), HasSubstr("but config.json implies"));
}

TEST_F(PackedTest, RefusesATruncatedFile) {
  WriteCheckpoint(source_, {});
  ASSERT_TRUE(Pack(kDevice, packed_).ok());
  const std::string content = ReadFile(weights_);
  for (size_t size = 0; size < content.size(); size += 1 + size / 4) {
    WriteFile(weights_, std::string_view(content).substr(0, size));
    EXPECT_THAT(Error(), HasSubstr(kPackedFileName)) << size;
  }
}

// The end of the file goes away between opening and loading.
TEST_F(PackedTest, SurvivesAFileThatShrinks) {
  WriteCheckpoint(source_, {});
  ASSERT_TRUE(Pack(kDevice, packed_).ok());
  const auto checkpoint = Checkpoint::Open(packed_);
  ASSERT_TRUE(checkpoint.ok());
  fs::resize_file(weights_, fs::file_size(weights_) - 1);
  const auto backend = BackendOf(kDevice);
  EXPECT_THAT(MessageOf(LlamaModel::Create(**checkpoint, backend.get(),
                                           {.max_context = 16, .num_kv_blocks = 1})
                            .status()),
              HasSubstr("matrix lm_head cannot be read"));
}

// Any byte of the header may be wrong: an error or a model, never a crash.
TEST_F(PackedTest, SurvivesRandomDamage) {
  RandomModel model;
  model.config.num_layers = 1;
  WriteCheckpoint(source_, model);
  ASSERT_TRUE(Pack(kDevice, packed_).ok());
  const std::string content = ReadFile(weights_);
  uint64_t length = 0;
  std::memcpy(&length, content.data(), sizeof(length));
  std::mt19937 random(7);
  int num_errors = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string damaged = content;
    for (int flips = 1 + i % 3; flips > 0; --flips) {
      damaged[random() % (8 + length)] ^= static_cast<char>(1 << random() % 8);
    }
    WriteFile(weights_, damaged);
    const std::string error = Error();
    EXPECT_LT(error.size(), 1000u);
    num_errors += !error.empty();
  }
  EXPECT_GT(num_errors, 500);
}

}  // namespace
}  // namespace strata
