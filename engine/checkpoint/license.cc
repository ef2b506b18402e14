#include "engine/checkpoint/license.h"

#include <cctype>
#include <filesystem>
#include <optional>
#include <string_view>

#include "engine/checkpoint/json_file.h"
#include "engine/status_macros.h"

namespace strata {
namespace {

using nlohmann::json;

constexpr size_t kMaxLicenseBytes = 1 << 20;
constexpr size_t kMaxIdBytes = 64;

// Lower case, with runs of anything but letters, digits and '.' as one '-'.
std::string Normalize(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '.') {
      out.push_back(static_cast<char>(std::tolower(byte)));
    } else if (!out.empty() && out.back() != '-') {
      out.push_back('-');
    }
  }
  if (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

bool Has(std::string_view normalized, std::string_view words) {
  return normalized.find(words) != normalized.npos;
}

bool SaysNoncommercial(std::string_view normalized) {
  return Has(normalized, "noncommercial") || Has(normalized, "non-commercial");
}

bool SaysFairNoncommercial(std::string_view normalized) {
  return Has(normalized, "fair-noncommercial") || Has(normalized, "fair-non-commercial");
}

// "facebook/layerskip-...", its folder in the Hub's cache, or a folder named after such a model.
bool NamesFairModel(std::string_view normalized) {
  return Has(normalized, "facebook-layerskip") || normalized.starts_with("layerskip-llama") ||
         normalized.starts_with("layerskip-codellama") || SaysFairNoncommercial(normalized);
}

std::string IdOfText(std::string_view normalized) {
  if (SaysFairNoncommercial(normalized)) return kFairLicenseId;
  if (SaysNoncommercial(normalized)) return "custom-noncommercial";
  if (Has(normalized, "apache-license-version-2.0")) return "apache-2.0";
  if (Has(normalized, "permission-is-hereby-granted-free-of-charge")) return "mit";
  return "custom";
}

absl::StatusOr<std::optional<std::string>> ReadLicenseFile(const std::string& folder) {
  for (const char* name : kLicenseFiles) {
    const std::string path = folder + "/" + name;
    if (!FileExists(path)) continue;
    ASSIGN_OR_RETURN(std::string text, ReadWholeFile(path, kMaxLicenseBytes));
    return text;
  }
  return std::nullopt;
}

// What config.json says, normalized: "license" and "license_name" joined; empty if neither.
absl::StatusOr<std::string> ReadConfigLicense(const std::string& folder) {
  ASSIGN_OR_RETURN(const json config, ReadJsonFile(folder + "/config.json"));
  std::string joined;
  for (const char* key : {"license_name", "license"}) {
    const auto it = config.find(key);
    if (it == config.end() || !it->is_string()) continue;
    if (!joined.empty()) joined += '-';
    joined += Normalize(it->get_ref<const std::string&>());
  }
  return joined;
}

}  // namespace

absl::StatusOr<CheckpointLicense> DetectLicense(const std::string& folder,
                                                const std::string& name) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadLicenseFile(folder));
  ASSIGN_OR_RETURN(const std::string configured, ReadConfigLicense(folder));
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(folder, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const bool is_fair =
      NamesFairModel(Normalize(name)) || NamesFairModel(Normalize(path.filename().string())) ||
      configured == "fair" || configured.starts_with("fair-") || SaysFairNoncommercial(configured);

  CheckpointLicense license;
  if (text) license.text = *text;
  if (is_fair) {
    license.id = kFairLicenseId;
  } else if (text) {
    license.id = IdOfText(Normalize(*text));
    if (SaysNoncommercial(configured) && license.id != kFairLicenseId) {
      license.id = "custom-noncommercial";
    }
  } else {
    license.id = configured.substr(0, kMaxIdBytes);
  }
  const bool noncommercial = is_fair || IsNoncommercial(configured);
  license.needs_acceptance = text.has_value() || noncommercial;
  return license;
}

bool IsNoncommercial(const std::string& id) { return SaysNoncommercial(id) || Has(id, "-nc"); }

CheckpointLicense StricterOf(const CheckpointLicense& a, const CheckpointLicense& b) {
  const auto strictness = [](const CheckpointLicense& license) {
    if (license.id == kFairLicenseId) return 4;
    if (SaysNoncommercial(license.id)) return 3;
    if (license.needs_acceptance) return 2;
    return license.id.empty() ? 0 : 1;
  };
  return strictness(b) > strictness(a) ? b : a;
}

}  // namespace strata
