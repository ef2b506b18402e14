#include "server/options.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "engine/status_macros.h"
#include "server/option_table.h"
#include "server/version.h"

namespace strata::server {
namespace {

// A value as text and where it came from, for error messages.
struct GivenValue {
  std::string text;
  std::string source;
};
using GivenValues = std::map<std::string, GivenValue>;  // by option name

constexpr char kConfigOption[] = "config";

std::string EnvironmentName(const std::string& option) {
  std::string name = "STRATA_";
  for (const char c : option) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

// Fills `given` from flags; returns the text of --help or --version if asked for.
absl::StatusOr<std::optional<std::string>> ReadFlags(const std::vector<std::string>& args,
                                                     GivenValues* given) {
  CLI::App app("Serves a LayerSkip model over gRPC.", "strata-server");
  app.set_version_flag("--version", fmt::format("strata-server {}", kVersion));
  app.footer(
      "Each option may also come from the environment (--max-queue: STRATA_MAX_QUEUE) or "
      "from the file of --config (max-queue = 8); flags win over the environment, the "
      "environment over the file.");
  std::map<std::string, std::string> texts;
  std::map<std::string, CLI::Option*> flags;
  for (const OptionSpec& spec : OptionTable()) {
    CLI::Option* flag =
        app.add_option("--" + spec.name, texts[spec.name], spec.help)->type_name(spec.value);
    if (spec.value.empty() || spec.value.front() == '[') flag->expected(0, 1);
    flags[spec.name] = flag;
  }
  flags[kConfigOption] =
      app.add_option("--config", texts[kConfigOption], "A TOML file with further options")
          ->type_name("FILE");
  std::vector<std::string> reversed(args.rbegin(), args.rend());  // as CLI11 wants them
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    return app.help();
  } catch (const CLI::CallForVersion&) {
    return fmt::format("strata-server {}\n", kVersion);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  for (const auto& [name, flag] : flags) {
    if (flag->count() > 0) {
      // A bare switch is on; what else may stand without a value knows what that means.
      (*given)[name] = {texts[name].empty() && flag->get_type_name().empty() ? "on" : texts[name],
                        "--" + name};
    }
  }
  return std::nullopt;
}

// Adds what `given` lacks.
void ReadEnvironment(const GetEnv& get_env, GivenValues* given) {
  const auto read = [&](const std::string& option) {
    const std::string variable = EnvironmentName(option);
    if (const char* text = get_env(variable))
      given->try_emplace(option, GivenValue{text, variable});
  };
  for (const OptionSpec& spec : OptionTable()) read(spec.name);
  read(kConfigOption);
}

absl::StatusOr<std::string> TomlText(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
  if (const auto* on = node.as_boolean()) return std::string(on->get() ? "on" : "off");
  return absl::InvalidArgumentError("must be a string, a whole number, true or false");
}

// Adds what `given` lacks.
absl::Status ReadFile(const std::string& path, GivenValues* given) {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(fmt::format("{}:{}: {}", path, error.source().begin.line,
                                                  std::string(error.description())));
  }
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const std::string source = fmt::format("{}: {}", path, name);
    const auto& specs = OptionTable();
    if (std::none_of(specs.begin(), specs.end(), [&](const auto& s) { return s.name == name; })) {
      return absl::InvalidArgumentError(
          fmt::format("{}: no such option; options are spelled as the flags are", source));
    }
    const absl::StatusOr<std::string> text = TomlText(node);
    if (!text.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: {}", source, std::string(text.status().message())));
    }
    given->try_emplace(name, GivenValue{*text, source});
  }
  return absl::OkStatus();
}

// What no option alone can say.
absl::Status CheckAccess(const Options& options) {
  const AccessOptions& access = options.access;
  if (access.tls_cert.empty() != access.tls_key.empty()) {
    return absl::InvalidArgumentError(
        "--tls-cert and --tls-key: one is of no use without the other");
  }
  if (!access.tls_client_ca.empty() && access.tls_cert.empty()) {
    return absl::InvalidArgumentError("--tls-client-ca: is of no use without --tls-cert");
  }
  if (access.allow_insecure_listen) return absl::OkStatus();
  if (access.tls_cert.empty() && !options.listen.IsLoopback()) {
    return absl::InvalidArgumentError(fmt::format(
        "--listen: {} can be reached from other machines: give --tls-cert and --tls-key, or say "
        "--allow-insecure-listen",
        options.listen.ToString()));
  }
  if (options.metrics_listen && !options.metrics_listen->IsLoopback()) {
    return absl::InvalidArgumentError(fmt::format(
        "--metrics-listen: {} can be reached from other machines, and is plain HTTP without a "
        "password: say --allow-insecure-listen if that is wanted",
        options.metrics_listen->ToString()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CommandLine> ParseOptions(const std::vector<std::string>& args,
                                         const GetEnv& get_env) {
  GivenValues given;
  CommandLine result;
  ASSIGN_OR_RETURN(result.message, ReadFlags(args, &given));
  if (result.message) return result;
  ReadEnvironment(get_env, &given);
  const auto config = given.find(kConfigOption);
  if (config != given.end()) {
    const std::string path = config->second.text;
    RETURN_IF_ERROR(ReadFile(path, &given));
  }
  for (const OptionSpec& spec : OptionTable()) {
    const auto value = given.find(spec.name);
    if (value == given.end()) continue;
    const absl::Status status = spec.set(value->second.text, &result.options);
    if (!status.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}: {}", value->second.source, std::string(status.message())));
    }
  }
  if (result.options.model.empty()) {
    return absl::InvalidArgumentError("--model: required: the folder of a checkpoint");
  }
  RETURN_IF_ERROR(CheckAccess(result.options));
  return result;
}

}  // namespace strata::server
