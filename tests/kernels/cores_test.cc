// Cores, NUMA nodes, and how ranks are laid over them.

#include "kernels/cpu/cores.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "kernels/cpu/cpu_ranks.h"

namespace strata::kernels {
namespace {

namespace fs = std::filesystem;
using Nodes = std::vector<std::vector<int>>;

// A folder of NUMA nodes as the system has it.
class NodeFolder {
 public:
  NodeFolder(const std::string& online, const std::vector<std::string>& lists)
      : path_(fs::path(testing::TempDir()) /
              ("nodes" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) + "_" +
               ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(path_);
    fs::create_directory(path_);
    std::ofstream(path_ / "online") << online << "\n";
    for (size_t i = 0; i < lists.size(); ++i) {
      const fs::path node = path_ / ("node" + std::to_string(i));
      fs::create_directory(node);
      std::ofstream(node / "cpulist") << lists[i] << "\n";
    }
  }
  ~NodeFolder() { fs::remove_all(path_); }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

TEST(Cores, AreAscendingAndThisThreadsOwn) {
  const std::vector<int> cores = AvailableCores();
  ASSERT_FALSE(cores.empty());
  EXPECT_TRUE(std::is_sorted(cores.begin(), cores.end()));
}

TEST(Cores, AThreadThatIsBoundHasNoOthers) {
  const int last = AvailableCores().back();
  std::vector<int> seen, inherited;
  std::thread([&] {
    BindThisThread({last});
    seen = AvailableCores();
    std::thread([&] { inherited = AvailableCores(); }).join();
  }).join();
  EXPECT_EQ(seen, std::vector<int>{last});
  EXPECT_EQ(inherited, std::vector<int>{last});
}

TEST(Cores, NoCoresBindNothing) {
  const std::vector<int> before = AvailableCores();
  BindThisThread({});
  EXPECT_EQ(AvailableCores(), before);
}

TEST(Cores, AreGivenBackAfterAScope) {
  const std::vector<int> before = AvailableCores();
  std::vector<int> inherited;
  {
    const BoundScope bound({before.back()});
    EXPECT_EQ(AvailableCores(), std::vector<int>{before.back()});
    const BoundScope nothing({});
    std::thread([&] { inherited = AvailableCores(); }).join();
  }
  EXPECT_EQ(AvailableCores(), before);
  EXPECT_EQ(inherited, std::vector<int>{before.back()});
}

TEST(Nodes, HoldTheAvailableCoresOnly) {
  const std::vector<int> cores = AvailableCores();
  const std::string first = std::to_string(cores.front());
  const NodeFolder folder("0-1,3", {first + ",900-901", "902-950", "", first + "-" + first});
  EXPECT_EQ(NumaNodes(folder.path()), (Nodes{{cores.front()}, {cores.front()}}));
}

TEST(Nodes, AreOneWhereTheSystemSaysNothing) {
  EXPECT_EQ(NumaNodes("/no/such/folder"), Nodes{AvailableCores()});
  const NodeFolder nonsense("what?", {});
  EXPECT_EQ(NumaNodes(nonsense.path()), Nodes{AvailableCores()});
}

TEST(Ranks, StayOnANodeWhereNodesDivideThem) {
  const Nodes nodes = {{0, 1}, {2, 3}};
  EXPECT_EQ(CoresOfRanks(nodes, 2), (Nodes{{0, 1}, {2, 3}}));
  EXPECT_EQ(CoresOfRanks(nodes, 4), (Nodes{{0, 1}, {0, 1}, {2, 3}, {2, 3}}));
  EXPECT_EQ(CoresOfRanks(nodes, 3), (Nodes{{}, {}, {}}));
  EXPECT_EQ(CoresOfRanks({{0, 1, 2, 3}}, 2), (Nodes{{}, {}}));
}

TEST(Ranks, ArePinnedToCoresOfTheirNodes) {
  const Nodes nodes = {{0, 2, 4, 6}, {1, 3, 5, 7}};
  EXPECT_EQ(PinnedCoresOfRanks(nodes, {3}), (Nodes{{0, 2, 4}}));
  EXPECT_EQ(PinnedCoresOfRanks(nodes, {6}), (Nodes{{0, 2, 4, 6, 1, 3}}));
  EXPECT_EQ(PinnedCoresOfRanks(nodes, {2, 3}), (Nodes{{0, 2}, {1, 3, 5}}));
  EXPECT_EQ(PinnedCoresOfRanks(nodes, {2, 1, 2, 2}), (Nodes{{0, 2}, {4}, {1, 3}, {5, 7}}));
  // Ranks that the nodes do not divide, and nodes of unlike size: whatever is next.
  EXPECT_EQ(PinnedCoresOfRanks(nodes, {2, 3, 3}), (Nodes{{0, 2}, {4, 6, 1}, {3, 5, 7}}));
  EXPECT_EQ(PinnedCoresOfRanks({{0, 1, 2}, {3}}, {2, 2}), (Nodes{{0, 1}, {2, 3}}));
}

TEST(Ranks, ThatArePinnedNeedACoreForEachThread) {
  CpuBackendOptions options;
  options.weights = WeightFormat::kF32;
  options.pin_threads = true;
  const auto cores = static_cast<int>(AvailableCores().size());
  const std::vector<RankDevice> one = CreateCpuRanks(options, 1, std::chrono::minutes(1));
  EXPECT_EQ(one[0].cores, std::vector<int>{NumaNodes().front().front()});
  try {
    CreateCpuRanks(options, cores + 1, std::chrono::minutes(1));
    ADD_FAILURE() << "more ranks than cores are pinned";
  } catch (const DeviceError& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(cores + 1) + " threads"),
              std::string::npos)
        << error.what();
  }
}

TEST(Ranks, DivideTheThreads) {
  const auto threads_of = [](const RankDevice& rank) {
    const std::string text = rank.backend->Description();
    return text.substr(0, text.find(" threads")).substr(text.find(", ") + 2);
  };
  CpuBackendOptions options;
  options.weights = WeightFormat::kF32;
  options.num_threads = 5;
  const std::vector<RankDevice> two = CreateCpuRanks(options, 2, std::chrono::minutes(1));
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(threads_of(two[0]), "2");
  EXPECT_EQ(threads_of(two[1]), "3");
  EXPECT_EQ(two[1].communicator->rank(), 1);
  options.num_threads = 1;
  for (const RankDevice& rank : CreateCpuRanks(options, 3, std::chrono::minutes(1))) {
    EXPECT_EQ(threads_of(rank), "1");
    EXPECT_EQ(rank.communicator->size(), 3);
  }
  options.num_threads = 4;
  const std::vector<RankDevice> one = CreateCpuRanks(options, 1, std::chrono::minutes(1));
  EXPECT_EQ(threads_of(one[0]), "4");
  EXPECT_EQ(one[0].communicator->size(), 1);
}

}  // namespace
}  // namespace strata::kernels
