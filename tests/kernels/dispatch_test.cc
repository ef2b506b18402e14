#include "kernels/cpu/dispatch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/cpu_backend.h"

namespace strata::kernels {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Sets STRATA_CPU_ISA for the life of the object.
class ScopedIsaVariable {
 public:
  explicit ScopedIsaVariable(const char* value) { setenv("STRATA_CPU_ISA", value, 1); }
  ~ScopedIsaVariable() { unsetenv("STRATA_CPU_ISA"); }
};

std::string MessageOf(const CpuBackendOptions& options) {
  try {
    CreateCpuBackend(options);
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Dispatch, UnknownIsaSaysWhatIsAvailable) {
  EXPECT_THAT(
      MessageOf({WeightFormat::kF32, 1, "avx1024"}),
      AllOf(HasSubstr("\"avx1024\""), HasSubstr("option isa"), HasSubstr("available: generic")));
}

TEST(Dispatch, UnknownIsaOfTheEnvironmentIsNamedAsSuch) {
  const ScopedIsaVariable variable("sse9");
  EXPECT_THAT(MessageOf({WeightFormat::kBF16, 1, ""}),
              AllOf(HasSubstr("\"sse9\""), HasSubstr("STRATA_CPU_ISA")));
}

TEST(Dispatch, EnvironmentForcesASet) {
  const ScopedIsaVariable variable("generic");
  EXPECT_EQ(CreateCpuBackend({WeightFormat::kF32, 1, ""})->Description(),
            "cpu generic, 1 threads, f32 weights");
}

TEST(Dispatch, OptionWinsOverTheEnvironment) {
  const ScopedIsaVariable variable("sse9");
  EXPECT_THAT(CreateCpuBackend({WeightFormat::kBF16, 1, "generic"})->Description(),
              HasSubstr("generic"));
}

TEST(Dispatch, DefaultIsTheBestTable) {
  for (const WeightFormat weights : kCpuWeightFormats) {
    EXPECT_STREQ(ChooseKernels(weights, "").name, AvailableKernels(weights).back()->name);
  }
}

// f32 has no tiles: the set is AVX-512's there.
TEST(Dispatch, AmxIsForAllWeights) {
  const std::vector<std::string> isas = AvailableCpuIsas();
  if (std::find(isas.begin(), isas.end(), "amx") == isas.end()) GTEST_SKIP() << "no AMX here";
  for (const WeightFormat weights : kCpuWeightFormats) {
    const bool tiles = weights != WeightFormat::kF32;
    EXPECT_STREQ(ChooseKernels(weights, "amx").name, tiles ? "amx" : "avx512");
  }
}

TEST(Dispatch, GenericComesFirst) { EXPECT_EQ(AvailableCpuIsas().front(), "generic"); }

TEST(Dispatch, F16IsForGpus) {
  try {
    CreateCpuBackend({WeightFormat::kF16, 1, ""});
    FAIL() << "a CPU takes f16 weights";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), HasSubstr("no kernels for f16 weights: take bf16, or f32"));
  }
}

TEST(WeightFormat, NamesParseBack) {
  for (const WeightFormat weights : kAllWeightFormats) {
    WeightFormat parsed = WeightFormat::kF32;
    EXPECT_TRUE(ParseWeightFormat(NameOf(weights), &parsed));
    EXPECT_EQ(parsed, weights);
  }
  WeightFormat parsed = WeightFormat::kInt8;
  EXPECT_FALSE(ParseWeightFormat("f8", &parsed));
  EXPECT_EQ(parsed, WeightFormat::kInt8);
}

}  // namespace
}  // namespace strata::kernels
