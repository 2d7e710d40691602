"""The C++ planner's choice, compiled against the generated messages; the rest of the example needs rclcpp."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "grasp_object_cpp"
PROGRAM = """
#include <cstdio>
#include "grasp_object_cpp/best_grasp.hpp"
int main()
{
  sab3r_ros::srv::QueryAffordance::Response answer;
  std::printf("%d", grasp_object_cpp::best_grasp(answer).has_value());
  answer.regions.resize(3);
  for (float score : {0.2f, 0.7f, 0.4f}) {
    sab3r_ros::msg::GraspCandidate grasp;
    grasp.score = score;
    answer.regions[score > 0.5f ? 2 : 1].grasps.push_back(grasp);
  }
  std::printf(" %.1f", grasp_object_cpp::best_grasp(answer)->score);
}
"""


@pytest.mark.slow
def test_the_best_grasp_of_all_regions_is_chosen(tmp_path):
    (tmp_path / "main.cpp").write_text(PROGRAM)
    prefixes = [Path(p) for p in (*os.environ["AMENT_PREFIX_PATH"].split(os.pathsep), sys.prefix)]
    # Messages lie in include/PACKAGE/PACKAGE, as in an installed Jazzy.
    folders = [f"-I{folder}" for prefix in prefixes for folder in (prefix / "include").glob("*") if folder.is_dir()]
    command = ["c++", "-std=c++17", "-Wall", "-Werror", f"-I{EXAMPLE / 'include'}", *folders]
    built = subprocess.run(
        [*command, "main.cpp", "-o", "main"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-2000:]
    assert subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout == "0 0.7"
