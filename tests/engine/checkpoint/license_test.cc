#include "engine/checkpoint/license.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/engine/checkpoint/checkpoint_writer.h"
#include "tests/engine/checkpoint/temporary_folder.h"

namespace strata {
namespace {

using nlohmann::json;

struct Case {
  const char* description;
  const char* folder;        // below the temporary one
  const char* name;          // _name_or_path
  const char* license_file;  // null: none
  const char* license_text;
  json config;  // added to config.json
  const char* id;
  bool needs_acceptance;
};

const Case kCases[] = {
    {"nothing", "model", "tiny", nullptr, "", {}, "", false},
    {"the FAIR text",
     "model",
     "tiny",
     "LICENSE",
     "FAIR  Noncommercial\nResearch License\n...",
     {},
     kFairLicenseId,
     true},
    {"the FAIR text, hyphenated",
     "model",
     "tiny",
     "LICENSE.md",
     "# FAIR Non-Commercial Research License",
     {},
     kFairLicenseId,
     true},
    {"another noncommercial text",
     "model",
     "tiny",
     "LICENSE.txt",
     "for noncommercial use only",
     {},
     "custom-noncommercial",
     true},
    {"an unknown text", "model", "tiny", "LICENSE", "Be nice.", {}, "custom", true},
    {"an empty LICENSE", "model", "tiny", "LICENSE", "", {}, "custom", true},
    {"a use policy", "model", "tiny", "USE_POLICY.md", "Be nice.", {}, "custom", true},
    {"Apache",
     "model",
     "tiny",
     "LICENSE",
     "Apache License\n   Version 2.0, January 2004",
     {},
     "apache-2.0",
     true},
    {"MIT",
     "model",
     "tiny",
     "LICENSE",
     "Permission is hereby granted, free of charge, to any",
     {},
     "mit",
     true},
    {"the model's name",
     "model",
     "facebook/layerskip-llama2-7B",
     nullptr,
     "",
     {},
     kFairLicenseId,
     true},
    {"the folder's name", "layerskip-llama3.2-1B", "tiny", nullptr, "", {}, kFairLicenseId, true},
    {"the name wins over an unknown text",
     "layerskip-codellama-7B",
     "tiny",
     "LICENSE",
     "Be nice.",
     {},
     kFairLicenseId,
     true},
    {"the Hub's cache",
     "models--facebook--layerskip-llama3-8B/snapshots/0123abcd",
     "",
     nullptr,
     "",
     {},
     kFairLicenseId,
     true},
    {"config.json: FAIR",
     "model",
     "tiny",
     nullptr,
     "",
     {{"license", "FAIR Noncommercial Research License"}},
     kFairLicenseId,
     true},
    {"config.json: license_name",
     "model",
     "tiny",
     nullptr,
     "",
     {{"license", "other"}, {"license_name", "fair"}},
     kFairLicenseId,
     true},
    {"config.json: noncommercial",
     "model",
     "tiny",
     nullptr,
     "",
     {{"license", "cc-by-nc-4.0"}},
     "cc-by-nc-4.0",
     true},
    {"config.json: permissive",
     "model",
     "tiny",
     nullptr,
     "",
     {{"license", "Apache 2.0"}},
     "apache-2.0",
     false},
    {"config.json stricter than the text",
     "model",
     "tiny",
     "LICENSE",
     "Be nice.",
     {{"license", "my-noncommercial"}},
     "custom-noncommercial",
     true},
    {"a name that only resembles",
     "my-layerskip-llama",
     "someone/layerskip-repro",
     nullptr,
     "",
     {},
     "",
     false},
};

TEST(License, IsFoundInTextNameAndConfig) {
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.description);
    const TemporaryFolder root;
    const std::string folder = root.path() + "/" + test.folder;
    std::filesystem::create_directories(folder);
    TinyModel model;
    model.config.name = test.name;
    WriteCheckpoint(folder, model);
    json config = ConfigJson(model);
    if (!test.config.is_null()) config.update(test.config);
    WriteFile(folder + "/config.json", config.dump());
    if (test.license_file) WriteFile(folder + "/" + test.license_file, test.license_text);

    const auto checkpoint = Checkpoint::Open(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const CheckpointLicense& license = (*checkpoint)->license();
    EXPECT_EQ(license.id, test.id);
    EXPECT_EQ(license.text, test.license_text);
    EXPECT_EQ(license.needs_acceptance, test.needs_acceptance);
  }
}

TEST(License, OfUnlikelySizeIsRefused) {
  const TemporaryFolder folder;
  WriteCheckpoint(folder.path(), {});
  WriteFile(folder.path() + "/LICENSE", std::string((1 << 20) + 1, 'x'));
  EXPECT_THAT(std::string(Checkpoint::Open(folder.path()).status().message()),
              ::testing::HasSubstr("LICENSE: 1048577 bytes, more than the limit"));
}

}  // namespace
}  // namespace strata
