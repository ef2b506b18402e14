#include "kernels/limits.h"

#include <gtest/gtest.h>

namespace strata::kernels {
namespace {

// No absolute speeds: only that each probe ran and counted something.
TEST(Limits, EachProbeReturnsARate) {
  EXPECT_GT(MeasureReadBandwidth(2, size_t{8} << 20), 0.0);
  EXPECT_GT(MeasureBf16Peak(1), 0.0);
  EXPECT_GE(MeasureInt8Peak(1), 0.0);
}

}  // namespace
}  // namespace strata::kernels
