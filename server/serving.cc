#include "server/serving.h"

#include <chrono>
#include <optional>

#include "engine/clock.h"

namespace strata::server {

std::optional<Instant> DeadlineOf(const grpc::ServerContextBase& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  // The wall clock may jump, the engine's does not: carry over what is left.
  const auto left = deadline - std::chrono::system_clock::now();
  return std::chrono::steady_clock::now() + std::chrono::duration_cast<Duration>(left);
}

void AddLicenseMetadata(const Serving& serving, grpc::ServerContextBase* context) {
  const std::string& id = serving.engine->checkpoint().license().id;
  if (!id.empty()) context->AddInitialMetadata("strata-model-license", id);
}

}  // namespace strata::server
