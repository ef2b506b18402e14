// strata-simulate: the server's scheduling and speculation on simulated hardware.

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bench/simulator/commands.h"
#include "bench/simulator/options.h"

namespace {

int Fail(const absl::Status& status, int exit_code) {
  std::fprintf(stderr, "strata-simulate: %s\n", std::string(status.message()).c_str());
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = strata::sim::ParseOptions(std::vector<std::string>(argv + 1, argv + argc));
  if (!options.ok()) return Fail(options.status(), 2);
  if (!options->help.empty()) {
    std::fputs(options->help.c_str(), stdout);
    return 0;
  }
  const auto text = strata::sim::RunCommand(*options);
  if (!text.ok()) return Fail(text.status(), 1);
  std::fputs(text->c_str(), stdout);
  return 0;
}
