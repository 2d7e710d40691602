// What a planner does: grasp_object mug "where would you hold it to lift it" [target_frame] prints the best grasp.
#include <chrono>
#include <cstdio>
#include <memory>

#include <rclcpp/rclcpp.hpp>
#include <sab3r_ros/srv/query_affordance.hpp>

#include "grasp_object_cpp/best_grasp.hpp"

using QueryAffordance = sab3r_ros::srv::QueryAffordance;

constexpr float kGripper = 0.085f;  // metres that the gripper opens

// Exit status 1 where there is no grasp, 2 for a wrong call.
int main(int argc, char ** argv)
{
  const auto arguments = rclcpp::init_and_remove_ros_arguments(argc, argv);
  if (arguments.size() < 3) {
    std::fprintf(stderr, "grasp_object OBJECT QUESTION [TARGET_FRAME]\n");
    return 2;
  }
  const auto node = std::make_shared<rclcpp::Node>("grasp_object");
  const auto client = node->create_client<QueryAffordance>("/affordance_server/query_affordance");
  if (!client->wait_for_service(std::chrono::seconds(5))) {
    std::fprintf(stderr, "no affordance_server is running\n");
    return 1;
  }
  const auto request = std::make_shared<QueryAffordance::Request>();
  request->object = arguments[1];
  request->affordance = arguments[2];
  request->target_frame = arguments.size() > 3 ? arguments[3] : "";
  request->max_regions = 3;
  request->max_grasps = 1;
  request->max_gripper_width = kGripper;
  auto future = client->async_send_request(request);
  if (rclcpp::spin_until_future_complete(node, future, std::chrono::seconds(30)) != rclcpp::FutureReturnCode::SUCCESS) {
    std::fprintf(stderr, "no answer in time\n");
    return 1;
  }
  const auto answer = future.get();
  if (answer->status != QueryAffordance::Response::SUCCESS) {
    std::fprintf(stderr, "%s\n", answer->message.c_str());
    return 1;
  }
  const auto grasp = grasp_object_cpp::best_grasp(*answer);
  if (!grasp) {
    std::fprintf(stderr, "%zu regions, but none that the gripper can take hold of\n", answer->regions.size());
    return 1;
  }
  const auto & p = grasp->pose.pose.position;
  const auto & q = grasp->pose.pose.orientation;
  std::printf(
    "finger tips at (%.3f, %.3f, %.3f) m in %s, score %.2f\n", p.x, p.y, p.z, answer->header.frame_id.c_str(), grasp->score);
  std::printf("orientation (%.3f, %.3f, %.3f, %.3f): +z approaches, +y closes\n", q.x, q.y, q.z, q.w);
  std::printf("open to %.3f m, come straight from %.2f m away\n", grasp->width + 0.01f, grasp->approach_distance);
  rclcpp::shutdown();
  return 0;
}
