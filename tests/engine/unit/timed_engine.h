// An engine whose time does not depend on the machine.

#ifndef STRATA_TESTS_ENGINE_UNIT_TIMED_ENGINE_H_
#define STRATA_TESTS_ENGINE_UNIT_TIMED_ENGINE_H_

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "engine/engine.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/engine/unit/manual_clock.h"
#include "tests/fakes/faulty_rank.h"
#include "tests/support/test_models.h"

namespace strata {

// Of the tiny model. A pass through one of its layers takes a millisecond by `clock`, which must
// outlive the engine, and nothing else takes any time.
inline std::unique_ptr<Engine> OpenTimedByLayers(const EngineOptions& options, ManualClock* clock) {
  auto checkpoint = Checkpoint::Open(TinyModel());
  auto tokenizer = Tokenizer::Open(TinyModel(), (*checkpoint)->config().vocab_size);
  auto backend = std::make_unique<FaultyBackend>(
      kernels::CreateCpuBackend({kernels::WeightFormat::kF32, 1, ""}),
      [clock](const std::string& operation) {
        if (operation == "PagedAttention") clock->Advance(std::chrono::milliseconds(1));
      });
  auto engine = Engine::Create(*std::move(checkpoint), *std::move(tokenizer), std::move(backend),
                               options, nullptr, clock);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_UNIT_TIMED_ENGINE_H_
