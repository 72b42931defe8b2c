# What an extension includes first: the macros it then calls.
set(EXTENSION_NAME ${PROJECT_NAME})

function(note name)
  string(REPLACE ";" "\n" lines "${ARGN}")
  file(WRITE ${CMAKE_BINARY_DIR}/noted/${name} "${lines}\n")
endfunction()

function(check_exists)
  foreach(file IN LISTS ARGN)
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file} OR IS_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "${file} is listed but does not exist in ${CMAKE_CURRENT_SOURCE_DIR}")
    endif()
  endforeach()
endfunction()

# Copies the files into the build tree and installs the folder they are then in; WITH_SUBDIR: into one of the same name
# as that of the sources.
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(STUB "WITH_GENERIC_TESTS;WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(STUB_UNPARSED_ARGUMENTS OR NOT STUB_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: no NAME, or too much: ${STUB_UNPARSED_ARGUMENTS}")
  endif()
  check_exists(${STUB_SCRIPTS} ${STUB_RESOURCES})
  note(${STUB_NAME}.scripts ${STUB_SCRIPTS})
  note(${STUB_NAME}.resources ${STUB_RESOURCES})

  set(STUB_FOLDER "")
  if(STUB_WITH_SUBDIR)
    get_filename_component(STUB_FOLDER ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    set(STUB_FOLDER /${STUB_FOLDER})
  endif()
  set(STUB_PLACE ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}${STUB_FOLDER})
  foreach(STUB_FILE IN ITEMS ${STUB_SCRIPTS} ${STUB_RESOURCES})
    configure_file(${STUB_FILE} ${STUB_PLACE}/${STUB_FILE} COPYONLY)
  endforeach()
  install(
    DIRECTORY ${STUB_PLACE}/
    DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}${STUB_FOLDER}
    COMPONENT RuntimeLibraries
    )
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(STUB "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  check_exists(${STUB_SCRIPT})
  get_filename_component(STUB_TEST ${STUB_SCRIPT} NAME_WE)
  note(${STUB_TEST}.test ${CMAKE_CURRENT_SOURCE_DIR}/${STUB_SCRIPT})
endmacro()
