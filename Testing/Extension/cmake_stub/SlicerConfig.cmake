# A stand-in for Slicer's build tree: checks what Slicer would check, and notes what it is told in the folder `noted`.
#   cmake -S . -B build -DSlicer_DIR=Testing/Extension/cmake_stub -DBUILD_TESTING=ON
if("${CMAKE_SIZEOF_VOID_P}" STREQUAL "")
  message(FATAL_ERROR "Slicer refuses projects without a compiled language: it compares the width of pointers")
endif()

set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-0.0/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/use.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/generate_config.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/cpack.cmake)
