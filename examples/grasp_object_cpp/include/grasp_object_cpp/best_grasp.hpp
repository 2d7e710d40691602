// The choice a planner makes from an answer of affordance_server.
#pragma once

#include <optional>

#include <sab3r_ros/srv/query_affordance.hpp>

namespace grasp_object_cpp
{

// The grasp of all regions with the highest score, or nothing where none fits the gripper.
inline std::optional<sab3r_ros::msg::GraspCandidate> best_grasp(
  const sab3r_ros::srv::QueryAffordance::Response & answer)
{
  std::optional<sab3r_ros::msg::GraspCandidate> best;
  for (const auto & region : answer.regions) {
    for (const auto & grasp : region.grasps) {
      if (!best || grasp.score > best->score) {
        best = grasp;
      }
    }
  }
  return best;
}

}  // namespace grasp_object_cpp
