#include "engine/policy/experience_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <optional>
#include <system_error>

#include "engine/checkpoint/json_fields.h"
#include "engine/checkpoint/json_file.h"
#include "engine/status_macros.h"

namespace strata {
namespace {

using nlohmann::json;

constexpr char kFormat[] = "strata-policy-2";
// 256 tenants and all exits of a deep model take a tenth of it.
constexpr size_t kMaxFileBytes = 16 << 20;
constexpr size_t kMaxTenantNameBytes = 4096;
constexpr std::array<Sampler::Mode, kNumSamplerModes> kModes = {
    Sampler::Mode::kGreedy, Sampler::Mode::kSeeded, Sampler::Mode::kUnseeded};

using Cell = AcceptanceModel::Cell;
using Lifts = AcceptanceModel::Lifts;

void AddLifts(const Lifts& lifts, json& object) {
  json odds = json::array(), variances = json::array();
  for (const OddsFactor& lift : lifts) {
    odds.push_back(lift.odds);
    variances.push_back(lift.variance);
  }
  object["odds"] = std::move(odds);
  object["variances"] = std::move(variances);
}

json ExitToJson(Sampler::Mode mode, int exit_layer, const AcceptanceModel::Exit& exit) {
  json outcomes = json::array();
  for (const Cell& cell : exit.by_confidence) {
    outcomes.push_back(cell.weight);
    outcomes.push_back(cell.accepted);
  }
  json object = {{"mode", static_cast<int>(mode)},
                 {"exit_layer", exit_layer},
                 {"first", {exit.first.odds, exit.first.variance}},
                 {"outcomes", std::move(outcomes)}};
  AddLifts(exit.lifts, object);
  return object;
}

// Reads the keys of one file; the first error counts.
class Reader {
 public:
  explicit Reader(std::string_view source) : source_(source) {}

  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(fmt::format("{}: {}", source_, what));
  }
  std::string source() const { return source_; }

  // An array of `count` numbers in [min, max].
  absl::StatusOr<std::vector<float>> Numbers(const json& object, const char* key, size_t count,
                                             double min, double max) const {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_array() || found->size() != count) {
      return Error(fmt::format("{} is not a list of {} numbers", key, count));
    }
    std::vector<float> numbers;
    for (const json& item : *found) {
      const double number = item.is_number() ? item.get<double>() : NAN;
      if (!(number >= min && number <= max)) {
        return Error(
            fmt::format("{} has {}, expected numbers in [{}, {}]", key, ShowJson(item), min, max));
      }
      numbers.push_back(static_cast<float>(number));
    }
    return numbers;
  }

  // Each element, which must be an object, of the list `key`.
  template <typename Visit>
  absl::Status ForEach(const json& object, const char* key, size_t most, Visit visit) const {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_array() || found->size() > most) {
      return Error(fmt::format("{} is not a list of at most {}", key, most));
    }
    for (const json& item : *found) {
      if (!item.is_object()) return Error(fmt::format("{} has {}", key, ShowJson(item)));
      RETURN_IF_ERROR(visit(item));
    }
    return absl::OkStatus();
  }

 private:
  const std::string source_;
};

// Odds and the variance of their logarithm, as they may have been learnt.
absl::StatusOr<OddsFactor> CheckFactor(const Reader& reader, float odds, float variance,
                                       const OddsPrior& prior) {
  if (odds < 1 / OddsFactor::kMax || odds > OddsFactor::kMax || variance < 0 ||
      variance > prior.variance) {
    return reader.Error(fmt::format("odds of {} with a variance of {}", odds, variance));
  }
  return OddsFactor{odds, variance};
}

absl::StatusOr<OddsFactor> ReadFactor(const Reader& reader, const json& item, const char* key,
                                      const OddsPrior& prior) {
  ASSIGN_OR_RETURN(const std::vector<float> numbers,
                   reader.Numbers(item, key, 2, 0, OddsFactor::kMax));
  return CheckFactor(reader, numbers[0], numbers[1], prior);
}

absl::Status ReadLifts(const Reader& reader, const json& item, const OddsPrior& prior,
                       Lifts& lifts) {
  ASSIGN_OR_RETURN(const std::vector<float> odds,
                   reader.Numbers(item, "odds", lifts.size(), 0, OddsFactor::kMax));
  ASSIGN_OR_RETURN(const std::vector<float> variances,
                   reader.Numbers(item, "variances", lifts.size(), 0, prior.variance));
  for (size_t i = 0; i < lifts.size(); ++i) {
    ASSIGN_OR_RETURN(lifts[i], CheckFactor(reader, odds[i], variances[i], prior));
  }
  return absl::OkStatus();
}

absl::Status ReadExit(const Reader& reader, const json& item, AcceptanceModel& acceptance) {
  const JsonFields fields(item, reader.source(), "acceptance.");
  ASSIGN_OR_RETURN(const int64_t mode, fields.RequiredInt("mode", 0, kNumSamplerModes - 1));
  ASSIGN_OR_RETURN(const int64_t exit_layer,
                   fields.RequiredInt("exit_layer", 1, acceptance.num_layers() - 1));
  AcceptanceModel::Exit& exit = acceptance.exit(kModes[mode], static_cast<int>(exit_layer));
  ASSIGN_OR_RETURN(exit.first, ReadFactor(reader, item, "first", AcceptanceModel::kExitPrior));
  RETURN_IF_ERROR(ReadLifts(reader, item, AcceptanceModel::kExitLiftPrior, exit.lifts));
  auto& cells = exit.by_confidence;
  ASSIGN_OR_RETURN(const std::vector<float> numbers,
                   reader.Numbers(item, "outcomes", 2 * cells.size(), 0, AcceptanceModel::kMemory));
  for (size_t i = 0; i < cells.size(); ++i) {
    cells[i] = {numbers[2 * i], numbers[2 * i + 1]};
    if (cells[i].accepted > cells[i].weight) return reader.Error("more was accepted than drafted");
  }
  return absl::OkStatus();
}

absl::Status ReadSharedLifts(const Reader& reader, const json& item, AcceptanceModel& acceptance) {
  const JsonFields fields(item, reader.source(), "lifts.");
  ASSIGN_OR_RETURN(const int64_t mode, fields.RequiredInt("mode", 0, kNumSamplerModes - 1));
  return ReadLifts(reader, item, AcceptanceModel::kLiftPrior, acceptance.lifts(kModes[mode]));
}

absl::Status ReadTenant(const Reader& reader, const json& item, TenantFactors& tenants) {
  const JsonFields fields(item, reader.source(), "tenants.");
  ASSIGN_OR_RETURN(const std::optional<std::string> name, fields.String("name"));
  ASSIGN_OR_RETURN(const OddsFactor factor, ReadFactor(reader, item, "factor", kTenantPrior));
  if (!name || name->size() > kMaxTenantNameBytes) return reader.Error("a tenant has no name");
  tenants.Restore(*name, factor);
  return absl::OkStatus();
}

}  // namespace

std::string ToJson(const DraftController::Experience& experience, std::string_view model) {
  const AcceptanceModel& acceptance = experience.acceptance;
  json file = {{"format", kFormat},
               {"model", std::string(model)},
               {"exit_layer", experience.exit_layer},
               {"acceptance", json::array()},
               {"lifts", json::array()},
               {"tenants", json::array()}};
  const AcceptanceModel unlearnt(acceptance.num_layers());
  for (const Sampler::Mode mode : kModes) {
    json& lifts = file["lifts"].emplace_back(json{{"mode", static_cast<int>(mode)}});
    AddLifts(acceptance.lifts(mode), lifts);
    for (int exit_layer = 1; exit_layer < acceptance.num_layers(); ++exit_layer) {
      const AcceptanceModel::Exit& exit = acceptance.exit(mode, exit_layer);
      if (exit == unlearnt.exit(mode, exit_layer)) continue;
      file["acceptance"].push_back(ExitToJson(mode, exit_layer, exit));
    }
  }
  for (const TenantFactors::Tenant& tenant : experience.tenants.tenants()) {
    file["tenants"].push_back(
        {{"name", tenant.name}, {"factor", {tenant.factor.odds, tenant.factor.variance}}});
  }
  return file.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

absl::StatusOr<DraftController::Experience> ParseExperience(std::string_view text,
                                                            std::string_view source,
                                                            std::string_view model,
                                                            int num_layers) {
  const Reader reader(source);
  ASSIGN_OR_RETURN(const json file, ParseJsonObject(text, source));
  const JsonFields fields(file, reader.source());
  ASSIGN_OR_RETURN(const std::optional<std::string> format, fields.String("format"));
  if (format != kFormat) return reader.Error(fmt::format("format is not {}", kFormat));
  ASSIGN_OR_RETURN(const std::optional<std::string> learnt_on, fields.String("model"));
  if (learnt_on != model) {
    return reader.Error(
        fmt::format("was learnt on {}, not on {}", learnt_on.value_or("nothing"), model));
  }
  DraftController::Experience experience{AcceptanceModel(num_layers), {}, 0};
  ASSIGN_OR_RETURN(const int64_t exit_layer, fields.RequiredInt("exit_layer", 1, num_layers - 1));
  experience.exit_layer = static_cast<int>(exit_layer);
  RETURN_IF_ERROR(reader.ForEach(
      file, "acceptance", static_cast<size_t>(kNumSamplerModes) * num_layers,
      [&](const json& item) { return ReadExit(reader, item, experience.acceptance); }));
  RETURN_IF_ERROR(reader.ForEach(file, "lifts", kNumSamplerModes, [&](const json& item) {
    return ReadSharedLifts(reader, item, experience.acceptance);
  }));
  RETURN_IF_ERROR(reader.ForEach(
      file, "tenants", TenantFactors::kMaxTenants,
      [&](const json& item) { return ReadTenant(reader, item, experience.tenants); }));
  return experience;
}

absl::StatusOr<DraftController::Experience> ReadExperience(const std::string& path,
                                                           std::string_view model, int num_layers) {
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxFileBytes));
  return ParseExperience(text, path, model, num_layers);
}

absl::Status WriteExperience(const std::string& path, const DraftController::Experience& experience,
                             std::string_view model) {
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary, std::ios::trunc);
  file << ToJson(experience, model);
  file.close();
  if (file && std::rename(temporary.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  std::remove(temporary.c_str());
  return absl::InvalidArgumentError(
      fmt::format("{}: cannot be written: {}", path, std::generic_category().message(error)));
}

}  // namespace strata
