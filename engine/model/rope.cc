#include "engine/model/rope.h"

#include <cmath>
#include <cstddef>
#include <numbers>

namespace strata {
namespace {

// Llama 3.1's rule: wavelengths well inside the original context stay, those
// well outside are stretched by `factor`, those between are interpolated.
double ScaleLlama3(double frequency, const RopeScaling& scaling) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  const double context = scaling.original_max_position_embeddings;
  if (wavelength < context / scaling.high_freq_factor) return frequency;
  if (wavelength > context / scaling.low_freq_factor) return frequency / scaling.factor;
  const double smooth = (context / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1.0 - smooth) * frequency / scaling.factor + smooth * frequency;
}

double Scale(double frequency, const RopeScaling& scaling) {
  switch (scaling.type) {
    case RopeScaling::Type::kNone:
      return frequency;
    case RopeScaling::Type::kLinear:
      return frequency / scaling.factor;
    case RopeScaling::Type::kLlama3:
      return ScaleLlama3(frequency, scaling);
  }
  return frequency;
}

}  // namespace

std::vector<float> RopeFrequencies(const ModelConfig& config) {
  std::vector<float> frequencies(config.head_dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / config.head_dim;
    frequencies[i] =
        static_cast<float>(Scale(std::pow(config.rope_theta, -exponent), config.rope_scaling));
  }
  return frequencies;
}

HostRopeTable MakeRopeTable(const ModelConfig& config, int max_positions) {
  const std::vector<float> frequencies = RopeFrequencies(config);
  HostRopeTable table;
  table.cos.reserve(max_positions * frequencies.size());
  table.sin.reserve(max_positions * frequencies.size());
  for (int position = 0; position < max_positions; ++position) {
    for (const float frequency : frequencies) {
      // The angle is rounded to f32 because that is what the models were trained with.
      const float angle = static_cast<float>(position) * frequency;
      table.cos.push_back(static_cast<float>(std::cos(static_cast<double>(angle))));
      table.sin.push_back(static_cast<float>(std::sin(static_cast<double>(angle))));
    }
  }
  return table;
}

}  // namespace strata
